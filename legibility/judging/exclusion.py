"""Whose judgments count: the rules of study.yaml, fixed before the key is opened."""

from __future__ import annotations

import pandas as pd
from scipy.stats import binom, binomtest

from legibility.judging.protocol import Exclusion
from legibility.judging.results_schema import RaterResult
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
        median = study.seconds.median()
        reasons = []
        if (
            rules.chance_alpha is not None
            and count >= rules.chance_min_judgments
            and p is not None
            and p > rules.chance_alpha
        ):
            reasons.append(f"not distinguishable from chance (p = {p:.2f})")
        if rules.max_failed_checks is not None and failed > rules.max_failed_checks:
            reasons.append(f"failed {failed} of {len(checks)} attention checks")
        if rules.min_median_seconds is not None and median < rules.min_median_seconds:
            reasons.append(f"too fast (median {median:.1f} s)")
        found.append(
            RaterResult(
                rater=str(rater),
                judgments=count,
                accuracy=right / count if count else None,
                p=p,
                failed_checks=failed,
                checks=len(checks),
                median_seconds=None if pd.isna(median) else float(median),
                excluded="; ".join(reasons),
            )
        )
    return found
