"""Performance gap recovered, and its interval over test items and seeds (Burns et al. 2023, Sec. 3).

    PGR = (weak-to-strong - weak) / (strong ceiling - weak)

1: the student reached the ceiling; 0: no better than its supervisor. Where the ceiling is not above
the weak model there is no gap to recover, and PGR is undefined. The papers do not say what they do
then; public code divides all the same and gives large numbers of either sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import Field

from legibility.metrics import LEAST_UNITS, varies
from legibility.stored import Interval, Number, Sparse, Stored

NO_GAP = 1e-9
MAX_UNDEFINED = 0.05  # share of resamples without a gap from which PGR itself counts as undefined
BLOCK = 1000  # resamples held in memory at once


class PgrEstimate(Sparse, Interval):
    """A PGR with its interval, or a sentence in place of numbers where there is no gap to recover."""

    undefined: str | None = Field(None, description="Why there is no value; left out where there is one.")


class LabelAgreement(Stored):
    """How often a student gives its supervisor's label; null where there are no such items."""

    all: Number = Field(description="Share of all items.")
    supervisor_right: Number = Field(description="Share of the items that the supervisor labels rightly.")
    supervisor_wrong: Number = Field(description="Share of the items that the supervisor labels wrongly.")


def pgr(weak: float, weak_to_strong: float, ceiling: float) -> float:
    """Performance gap recovered of three accuracies; nan where the ceiling is not above the weak model."""
    gap = ceiling - weak
    return (weak_to_strong - weak) / gap if gap > NO_GAP else math.nan


def crossed_bootstrap(
    tables: Mapping[str, np.ndarray],
    groups: Sequence[str],
    statistic: Callable[[dict[str, float]], float],
    *,
    resamples: int,
    confidence_level: float,
    rng: np.random.Generator,
) -> tuple[Interval, float]:
    """Percentile interval of `statistic({name: mean})`, seeds and test problems resampled together.

    tables: name -> (seeds, items) of 0/1 (or any number), paired: one resample serves all of them.
    groups: the problem of every item; items of a problem are drawn together.
    Returns the estimate, and the share of resamples in which the statistic is nan (they are left out of
    the interval). There is no interval over fewer than `LEAST_UNITS` problems, nor where all resamples agree.
    """
    _, owner = np.unique(np.asarray(groups), return_inverse=True)
    count = np.bincount(owner).astype(float)  # items per problem
    sums = {k: np.stack([np.bincount(owner, row, len(count)) for row in np.atleast_2d(t)]) for k, t in tables.items()}
    seeds = next(iter(sums.values())).shape[0]

    def at(seed_weight: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The statistic under counts of every seed (resamples, seeds) and problem (resamples, problems): (resamples,)."""
        total = seeds * (weight @ count)
        means = {k: ((seed_weight @ s) * weight).sum(1) / total for k, s in sums.items()}
        return np.array(
            [
                statistic(dict(zip(means, row, strict=True)))
                for row in zip(*(m.tolist() for m in means.values()), strict=True)
            ]
        )

    value = at(np.ones((1, seeds)), np.ones((1, len(count))))[0]
    blocks = [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
    draws = np.concatenate([at(*_counts(rng, size, seeds, len(count))) for size in blocks])
    known = draws[~np.isnan(draws)]
    tail = (1 - confidence_level) / 2
    enough = len(count) >= LEAST_UNITS and varies(known)
    low, high = np.quantile(known, [tail, 1 - tail]) if enough else (math.nan, math.nan)
    return Interval(value=float(value), low=float(low), high=float(high)), 1 - len(known) / len(draws)


def _counts(rng: np.random.Generator, resamples: int, seeds: int, problems: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample holds each seed (resamples, seeds) and each problem (resamples, problems)."""
    drawn = rng.integers(0, np.tile(np.repeat([seeds, problems], [seeds, problems]), (resamples, 1)))

    def count(x: np.ndarray, size: int) -> np.ndarray:
        return np.bincount((x + size * np.arange(resamples)[:, None]).ravel(), minlength=resamples * size).reshape(
            resamples, size
        )

    return count(drawn[:, :seeds], seeds), count(drawn[:, seeds:], problems)


def pgr_estimate(
    weak: np.ndarray,
    student: np.ndarray,
    ceiling: np.ndarray,
    groups: Sequence[str],
    *,
    resamples: int,
    confidence_level: float,
    rng: np.random.Generator,
) -> PgrEstimate:
    """PGR of (seeds, items) tables of right answers, with its interval.

    Undefined, with a sentence instead of numbers, where the gap is not above 0 in (about) all
    resamples: a ratio to a gap that may be nothing is not a result.
    """
    tables = {"weak": weak, "student": student, "ceiling": ceiling}
    estimate, undefined = crossed_bootstrap(
        tables,
        groups,
        lambda m: pgr(m["weak"], m["student"], m["ceiling"]),
        resamples=resamples,
        confidence_level=confidence_level,
        rng=rng,
    )
    if estimate.value is not None and undefined <= MAX_UNDEFINED:
        return PgrEstimate(value=estimate.value, low=estimate.low, high=estimate.high)
    gap = float(np.mean(ceiling) - np.mean(weak))
    reason = f"the ceiling is {gap:+.3f} above the weak model, and in {100 * undefined:.0f}% of resamples not above it: no gap to recover"
    return PgrEstimate(value=None, low=None, high=None, undefined=reason)


def agreement(student: np.ndarray, supervisor: np.ndarray, truth: np.ndarray) -> LabelAgreement:
    """How often the student gives the supervisor's label (Burns et al. 2023, Sec. 5.1.3).

    All arguments are boolean and of one shape. A student that imitates errors agrees as often where the
    supervisor is wrong as where it is right.
    """
    same, right = student == supervisor, supervisor == truth
    return LabelAgreement(
        all=float(same.mean()),
        supervisor_right=float(same[right].mean()) if right.any() else None,
        supervisor_wrong=float(same[~right].mean()) if (~right).any() else None,
    )
