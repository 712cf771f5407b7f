"""Numbers over seeds: mean, t interval, paired test, multiplicity. A seed (a game) is one unit, everywhere.

What stands inside one game, such as its attacks, is averaged to one number before it comes here: two attacks of
one game share its verifier and its text, so counting them as two would make the interval too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field
from scipy import stats

from legibility.metrics import NO_INTERVAL
from legibility.stored import Number, Stored


class OverSeeds(Stored):
    """A number of several runs: its values, their mean and its t interval (null below two known values)."""

    values: list[Number] = Field(description="The number by seed, in the order of `seeds`; null: a run lacks it.")
    mean: Number = Field(description="Mean of the known values.")
    low: Number = Field(description="Lower bound of the mean's t interval over seeds.")
    high: Number = Field(description="Upper bound.")
    n: int = Field(description="Seeds that have the number.")

    def text(self, digits: int = 3) -> str:
        """The mean and its interval, for people; a dash where no seed has the number."""
        if self.mean is None:
            return "–"
        interval = f"({NO_INTERVAL})" if self.low is None else f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.mean:.{digits}f} {interval}"


class Difference(Stored):
    """A paired t-test over seeds; null below two seeds that have both numbers."""

    difference: Number = Field(description="Mean of first - second.")
    p: Number = Field(description="Two-sided p.")
    n: int = Field(description="Seeds that have both.")


def over_seeds(values: Sequence[float | None], confidence_level: float, *, rate: bool = False) -> OverSeeds:
    """Values by seed, their mean and its t interval; the interval needs two seeds that have the number.

    rate: the number cannot be below 0 or above 1, so its interval ends there.
    """
    known = _known(values)
    low = high = float("nan")
    if len(known) > 1:
        half = stats.t.ppf((1 + confidence_level) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
        low, high = float(known.mean() - half), float(known.mean() + half)
        if rate:
            low, high = max(low, 0.0), min(high, 1.0)
    mean = float(known.mean()) if len(known) else float("nan")
    return OverSeeds(values=list(values), mean=mean, low=low, high=high, n=len(known))


def paired_test(first: Sequence[float | None], second: Sequence[float | None]) -> Difference:
    """Paired t-test of first - second over the seeds that have both: mean difference and two-sided p."""
    gaps = [a - b for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(gaps) < 2:
        return Difference(difference=None, p=None, n=len(gaps))
    return Difference(difference=float(np.mean(gaps)), p=_two_sided(gaps, 0.0), n=len(gaps))


def p_above(values: Sequence[float | None], bound: float) -> float | None:
    """p of "the mean over seeds is not above `bound`": the two-sided t-test's, and 1 where the mean is below it.

    Below 1 - level exactly where the lower end of the t interval of that level is above `bound`. None below two
    known values.
    """
    known = _known(values)
    if len(known) < 2:
        return None
    return _two_sided(known, bound) if known.mean() > bound else 1.0


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p of each of several claims, None where there is none.

    To call those below alpha true keeps the chance of even one false call below alpha, however they depend.
    """
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    adjusted: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def _two_sided(values: Sequence[float] | np.ndarray, bound: float) -> float:
    gaps = np.asarray(values, dtype=float) - bound
    if gaps.std() > 1e-12:
        return float(stats.ttest_1samp(gaps, 0.0).pvalue)
    return 1.0 if abs(gaps.mean()) <= 1e-12 else 0.0  # the same in every seed


def _known(values: Sequence[float | None]) -> np.ndarray:
    return np.array([v for v in values if v is not None], dtype=float)
