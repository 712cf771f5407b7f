"""Whose judgments count: the rules of study.yaml, fixed before the key is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from scipy.stats import binom, binomtest

from legibility.judging.protocol import Exclusion
from legibility.judging.results_schema import ExclusionRule, RaterResult
from legibility.judging.study_schema import ATTENTION


def exclusion_rate(accuracy: float, judgments: int, alpha: float) -> float:
    """Chance that the chance test leaves out a rater of this accuracy after so many judgments (exact).

    1 - P(X >= k) for X ~ Binomial(judgments, accuracy), k the least count of right answers with
    P(Binomial(judgments, 1/2) >= k) <= alpha.
    """
    least = int(binom.isf(alpha, judgments, 0.5)) + 1
    return float(binom.cdf(least - 1, judgments, accuracy))


def excluded_raters(judgments: pd.DataFrame, rules: Exclusion) -> list[RaterResult]:
    """Every rater by name, with the reasons why they are left out; those who stay have none.

    judgments: rater, kind, right, seconds. The chance test is exact and needs balanced labels, which the
    assignment gives every rater. It leaves out raters who cannot be told from guessing, and with few
    judgments that includes some who did not guess: `exclusion_rate` and `simulate-raters --repeats` say how many.
    """
    found = []
    for rater, mine in judgments.groupby("rater", sort=True):
        study, checks = mine[mine.kind != ATTENTION], mine[mine.kind == ATTENTION]
        count, right = len(study), int(study.right.sum())
        p = binomtest(right, count, 0.5, alternative="greater").pvalue if count else None
        failed = int((~checks.right).sum())
        median = study.seconds.dropna().median()  # none: nan, without a warning
        facts = RaterResult(
            rater=str(rater),
            judgments=count,
            accuracy=right / count if count else None,
            p=p,
            failed_checks=failed,
            checks=len(checks),
            median_seconds=None if pd.isna(median) else float(median),
            excluded="",
        )
        reasons = "; ".join(_sentence(rule, facts) for rule in broken_rules(facts, rules))
        found.append(facts.model_copy(update={"excluded": reasons}))
    return found


def broken_rules(rater: RaterResult, rules: Exclusion) -> list[ExclusionRule]:
    """The rules that leave a rater out."""
    broken: list[ExclusionRule] = []
    enough = rater.judgments >= rules.chance_min_judgments
    if rules.chance_alpha is not None and enough and rater.p is not None and rater.p > rules.chance_alpha:
        broken.append("chance_alpha")
    if rules.max_failed_checks is not None and rater.failed_checks > rules.max_failed_checks:
        broken.append("max_failed_checks")
    median = rater.median_seconds
    if rules.min_median_seconds is not None and median is not None and median < rules.min_median_seconds:
        broken.append("min_median_seconds")
    return broken


def excluded_by(raters: Sequence[RaterResult], rules: Exclusion) -> dict[ExclusionRule, int]:
    """How many raters each rule leaves out, the most first; a rater may break several."""
    return dict(Counter(rule for rater in raters for rule in broken_rules(rater, rules)).most_common())


def _sentence(rule: ExclusionRule, rater: RaterResult) -> str:
    if rule == "chance_alpha":
        return f"not distinguishable from chance (p = {rater.p:.2f})"
    if rule == "max_failed_checks":
        return f"failed {rater.failed_checks} of {rater.checks} attention checks"
    return f"too fast (median {rater.median_seconds:.1f} s)"
