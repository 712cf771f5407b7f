"""Steps to exploit as survival data: an attack that hits its step cap is censored, not a failure at the cap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from legibility.errors import UserError


def kaplan_meier_median(steps: Sequence[float], exploited: Sequence[bool], confidence: float = 0.95) -> dict[str, Any]:
    """Median steps to exploit with a Kaplan–Meier interval (lifelines; log-log Greenwood bands).

    steps (n,): steps to the exploit, or done when the attack was stopped. Returns median, low, high
    (None: beyond what was observed), n, censored (share). Raises UserError without lifelines.
    """
    try:
        from lifelines import KaplanMeierFitter
        from lifelines.utils import median_survival_times
    except ImportError:
        raise UserError('lifelines is not installed; pip install "legibility[evaluate]"') from None
    durations, events = np.asarray(steps, dtype=float), np.asarray(exploited, dtype=bool)
    result: dict[str, Any] = {"median": None, "low": None, "high": None, "n": len(durations), "censored": None}
    if not len(durations):
        return result
    result["censored"] = float(1 - events.mean())
    if not events.any():
        return result
    fitter = KaplanMeierFitter(alpha=1 - confidence).fit(durations, events)
    low, high = median_survival_times(fitter.confidence_interval_survival_function_).to_numpy().ravel()
    survival = fitter.survival_function_.iloc[:, 0]
    reached = survival.index[survival <= 0.5 + 1e-9]  # lifelines' own median misses 0.5 by rounding
    result.update(median=float(reached[0]) if len(reached) else None, low=_finite(low), high=_finite(high))
    return result


def median_steps(records: Sequence[Mapping[str, Any]], confidence: float) -> dict[str, Any]:
    """`kaplan_meier_median` of attack records, with the step cap and whether any attack was a quick one."""
    steps, exploited, caps = ([r[key] for r in records] for key in ("steps", "exploited", "cap"))
    found = kaplan_meier_median(steps, exploited, confidence)
    return {**found, "cap": step_cap(caps, exploited), "quick": any(r["quick"] for r in records)}


def step_cap(caps: Sequence[int], exploited: Sequence[bool]) -> int:
    """Until which step attacks were watched: the smallest cap of those not exploited, where there is none the largest of all.

    An exploited attack ended before its cap and would have done so under any higher one.
    """
    return min((c for c, e in zip(caps, exploited, strict=True) if not e), default=max(caps))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
