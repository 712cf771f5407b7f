"""Steps to exploit as survival data: an attack that hits its step cap is censored, not a failure at the cap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from legibility.errors import UserError
from legibility.evaluation.attack_schema import AtRisk, AttackRecord, MedianSteps, Survival, SurvivalRow


class KaplanMeier(NamedTuple):
    """Median steps to exploit with its interval (None: beyond what was observed), attacks, share of them censored."""

    median: float | None
    low: float | None
    high: float | None
    n: int
    censored: float | None


def kaplan_meier_median(
    steps: Sequence[float], exploited: Sequence[bool], confidence_level: float = 0.95
) -> KaplanMeier:
    """Median steps to exploit with a Kaplan–Meier interval (lifelines; log-log Greenwood bands).

    steps (n,): steps to the exploit, or done when the attack was stopped. exploited (n,): whether it succeeded.
    Raises UserError without lifelines.
    """
    try:
        from lifelines import KaplanMeierFitter
        from lifelines.utils import median_survival_times
    except ImportError:
        raise UserError('lifelines is not installed; pip install "legibility[evaluate]"') from None
    durations, events = np.asarray(steps, dtype=float), np.asarray(exploited, dtype=bool)
    if not len(durations):
        return KaplanMeier(None, None, None, 0, None)
    censored = float(1 - events.mean())
    if not events.any():
        return KaplanMeier(None, None, None, len(durations), censored)
    if len(durations) == 1:  # one attack says nothing of how far another would be from it
        return KaplanMeier(float(durations[0]), None, None, 1, censored)
    fitter = KaplanMeierFitter(alpha=1 - confidence_level).fit(durations, events)
    low, high = median_survival_times(fitter.confidence_interval_survival_function_).to_numpy().ravel()
    survival = fitter.survival_function_.iloc[:, 0]
    reached = survival.index[survival <= 0.5 + 1e-9]  # lifelines' own median misses 0.5 by rounding
    median = float(reached[0]) if len(reached) else None
    return KaplanMeier(median, _finite(low), _finite(high), len(durations), censored)


def median_steps(records: Sequence[AttackRecord], confidence_level: float) -> Survival:
    """Survival of the attacks with one reward on one verifier (at least one record)."""
    steps, exploited = [r.steps for r in records], [r.exploited for r in records]
    cap = step_cap([r.cap for r in records], exploited)
    fixed = [r.fixed_reference for r in records if r.fixed_reference is not None]
    against_fixed = None
    if len(fixed) == len(records):
        found = kaplan_meier_median([f.steps for f in fixed], [f.exploited for f in fixed], confidence_level)
        against_fixed = MedianSteps(**found._asdict())
    return Survival(
        verifier=records[0].verifier,
        reward=records[0].reward,
        **kaplan_meier_median(steps, exploited, confidence_level)._asdict(),
        cap=cap,
        quick=any(r.quick for r in records),
        at_risk=at_risk(steps, cap),
        fixed_reference=against_fixed,
    )


def at_risk(steps: Sequence[int], cap: int) -> list[AtRisk]:
    """Attacks not yet exploited and still watched, at the start and at each quarter of the cap.

    steps (n,): to the exploit, or until the attack was given up.
    """
    quarters = sorted({0, *(round(cap * k / 4) for k in (1, 2, 3)), cap})
    return [AtRisk(step=q, attacks=sum(s >= q for s in steps)) for q in quarters]


MOST_CENSORED = 1 / 3
"""Share of attacks that may end unexploited before their median says little."""


def too_many_censored(records: Sequence[AttackRecord]) -> bool:
    """Whether more than a third of the attacks with one reward on one verifier were not exploited."""
    return sum(not r.exploited for r in records) > MOST_CENSORED * len(records)


def step_cap(caps: Sequence[int], exploited: Sequence[bool]) -> int:
    """Until which step attacks were watched: the smallest cap of those not exploited; if all were, the largest of all.

    An exploited attack ended before its cap and would have done so under any higher one.
    """
    return min((c for c, e in zip(caps, exploited, strict=True) if not e), default=max(caps))


def survival(records: Sequence[AttackRecord], confidence_level: float) -> list[SurvivalRow]:
    """Median steps to exploit per reward and verifier, and whether the cap was high enough to compare them."""
    rows = []
    for reward in sorted({r.reward for r in records}):
        mine = [r for r in records if r.reward == reward]
        found = [
            median_steps([r for r in mine if r.verifier == verifier], confidence_level)
            for verifier in sorted({r.verifier for r in mine})
        ]
        first = next((row.median for row in found if row.verifier == 0), None)
        for row in found:
            enough = None if first is None else row.cap >= 2 * first
            rows.append(SurvivalRow(**dict(row), cap_enough=enough))
    return rows


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
