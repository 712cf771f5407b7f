"""Attacks of several runs, read with the run (its seed) as the unit.

Attacks of one run share a verifier and are no independent draws of "a verifier of round i". A run's attacks with
one reward on one verifier are therefore averaged to one number, and intervals and tests are over runs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import numpy as np
from pydantic import Field

from legibility.evaluation.attack_schema import AttackRecord, RobustnessRow, Survival
from legibility.evaluation.attacks.survival import median_steps, step_cap
from legibility.evaluation.over_seeds import OverSeeds, over_seeds
from legibility.evaluation.summary_schema import Summary

At = Literal["steps", "kl"]
"""Where attackers are compared: after as many steps, or as far from their start."""


class SurvivalOverSeeds(Survival):
    """Steps to exploit over the attacks of several runs. `median`, `n` and `censored` are of all attacks together,
    `low` and `high` null: the interval over seeds is that of `mean_steps`."""

    mean_steps: OverSeeds | None = Field(
        None, description="Mean steps to exploit within the cap (restricted mean), a value a seed. Null in older files."
    )


class RateOverSeeds(OverSeeds):
    """False-positive rate of a round's verifier under fresh attackers, a value a seed: the mean over its attacks."""

    reward: str = Field(description="What the attackers were paid.")
    verifier: int = Field(description="Round of the verifier.")
    at: At = Field(description="Whether attackers are compared after as many steps or as far from their start.")
    target: float = Field(description="After how many PPO steps, or at which KL in nats.")


# --- Accepted text ---------------------------------------------------------------------------------


def common_targets(summaries: Sequence[Summary], reward: str, verifiers: Collection[int], at: At) -> list[float]:
    """The points at which every attack with a reward on some verifiers has a rate, over all runs, in order.

    Runs that lack attacks on one of the verifiers are passed over, and so is what an attack did after the steps
    that it was to make whether it succeeded or not: only those that did not succeed have gone further.
    """
    common: set[float] | None = None
    for summary in summaries:
        attacks = [a for a in attacks_of([summary]) if a.reward == reward and a.verifier in verifiers]
        if {a.verifier for a in attacks} != set(verifiers):
            continue
        rows = [r for r in robustness_of(summary) if r.at == at and r.reward == reward and r.fpr is not None]
        for attack in attacks:
            mine = [r for r in rows if (r.verifier, r.seed) == (attack.verifier, attack.seed)]
            reached = {r.target for r in mine if attack.equal_steps is None or r.steps <= attack.equal_steps}
            common = reached if common is None else common & reached
    return sorted(common or ())


def common_target(summaries: Sequence[Summary], reward: str, verifiers: Collection[int], at: At) -> float | None:
    """The furthest of `common_targets`; None where there is none."""
    return max(common_targets(summaries, reward, verifiers, at), default=None)


def rates_over_seeds(summaries: Sequence[Summary], confidence_level: float) -> list[RateOverSeeds]:
    """False-positive rates under fresh attackers, of all verifiers at the points that all attacks with a reward share."""
    attacks = attacks_of(summaries)
    found = []
    for reward in sorted({a.reward for a in attacks}):
        verifiers = sorted({a.verifier for a in attacks if a.reward == reward})
        for at in get_args(At):
            for target in common_targets(summaries, reward, verifiers, at):
                for verifier in verifiers:
                    values = [accepted(s, reward, verifier, at, target) for s in summaries]
                    rate = over_seeds(values, confidence_level, rate=True)
                    found.append(RateOverSeeds(reward=reward, verifier=verifier, at=at, target=target, **dict(rate)))
    return found


def accepted(summary: Summary, reward: str, verifier: int, at: At, target: float | None) -> float | None:
    """False-positive rate of a run's verifier under fresh attackers at a point, mean over its attacks."""
    found = [
        row.fpr
        for row in robustness_of(summary)
        if (row.reward, row.verifier, row.at, row.target) == (reward, verifier, at, target) and row.fpr is not None
    ]
    return float(np.mean(found)) if found else None


def robustness_of(summary: Summary) -> list[RobustnessRow]:
    """The rates of a run; empty where none was computed."""
    return (summary.evaluation and summary.evaluation.robustness) or []


# --- Steps to exploit ------------------------------------------------------------------------------


def attacks_of(summaries: Sequence[Summary]) -> list[AttackRecord]:
    """The attacks of all runs."""
    return [a for s in summaries for a in (s.evaluation and s.evaluation.attacks) or []]


def survival_over_seeds(summaries: Sequence[Summary], confidence_level: float) -> list[SurvivalOverSeeds]:
    """Steps to exploit by reward and verifier; quick attacks are left out where full ones exist."""
    rows = []
    for reward, verifier in sorted({(r.reward, r.verifier) for r in attacks_of(summaries)}):
        chosen = chosen_attacks(summaries, reward, verifier)
        pooled = median_steps([a for run in chosen for a in run], confidence_level)
        fixed = pooled.fixed_reference and pooled.fixed_reference.model_copy(update={"low": None, "high": None})
        means = over_seeds([mean_steps(run, pooled.cap) for run in chosen], confidence_level)
        rows.append(
            SurvivalOverSeeds(
                **{**dict(pooled), "low": None, "high": None, "fixed_reference": fixed, "mean_steps": means}
            )
        )
    return rows


def chosen_attacks(summaries: Sequence[Summary], reward: str, verifier: int) -> list[list[AttackRecord]]:
    """Each run's attacks with a reward on a verifier; quick ones only where no run has full ones."""
    runs = [[a for a in attacks_of([s]) if (a.reward, a.verifier) == (reward, verifier)] for s in summaries]
    full = [[a for a in run if not a.quick] for run in runs]
    return full if any(full) else runs


def mean_steps(attacks: Sequence[AttackRecord], cap: int) -> float | None:
    """Mean of min(steps to exploit, cap) over attacks that were all watched until the cap or exploited before it."""
    return float(np.mean([min(a.steps, cap) for a in attacks])) if attacks else None


def withstood(summaries: Sequence[Summary], reward: str, first: int, second: int) -> tuple[list[float | None], int]:
    """By run, mean steps to exploit of verifier `second` less those of verifier `first`, and the cap of both."""
    sides = [chosen_attacks(summaries, reward, v) for v in (first, second)]
    both = [a for side in sides for run in side for a in run]
    if not both:
        return [None] * len(summaries), 0
    cap = step_cap([a.cap for a in both], [a.exploited for a in both])
    gaps: list[float | None] = []
    for pair in zip(*sides, strict=True):
        early, late = (mean_steps(run, cap) for run in pair)
        gaps.append(None if early is None or late is None else late - early)
    return gaps, cap
