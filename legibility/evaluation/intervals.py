"""Bootstrap over problems, shared by every figure of an evaluation.

Solutions of one problem are not independent, so whole problems are drawn. One matrix of weights (how
often each problem is in each resample) serves all figures: what is computed from the same problems is
paired, and a difference of two figures gets the interval of the difference. The weights count the draws
that `legibility.metrics.bootstrap` makes for the summary, so that a number that stands in both has one interval.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legibility.config import Config
from legibility.metrics import LEAST_UNITS, auroc, pair_counts, varies
from legibility.randomness import stream
from legibility.stored import Interval

CHUNK = 4_000_000  # weights looked at together


@dataclass(frozen=True)
class Figure:
    """A value, what it is in each resample (nan where undefined), and the confidence level of its interval."""

    value: float
    draws: np.ndarray  # (resamples,)
    confidence_level: float

    def interval(self) -> Interval:
        """The value with its percentile interval over the resamples in which it is defined; none where all agree."""
        known = self.draws[~np.isnan(self.draws)]
        tail = (1 - self.confidence_level) / 2
        low, high = np.quantile(known, [tail, 1 - tail]) if varies(known) else (np.nan, np.nan)
        return Interval(value=self.value, low=float(low), high=float(high))

    def __sub__(self, other: Figure) -> Figure:
        return combine(lambda a, b: a - b, self, other)


def combine(function: Callable[..., Any], *figures: Figure) -> Figure:
    """A function of figures of the same resamples. `function` must work on floats and on arrays (resamples,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value, draws = function(*(np.float64(f.value) for f in figures)), function(*(f.draws for f in figures))
    draws = np.where(np.isfinite(draws), draws, np.nan)
    return Figure(float(value) if np.isfinite(value) else float("nan"), draws, figures[0].confidence_level)


def share(part: Any, whole: Any) -> Any:
    """part / whole for numbers or arrays of one shape; nan where the whole is nothing but rounding."""
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    known = np.abs(whole) > 1e-9
    return np.where(known, part / np.where(known, whole, 1.0), np.nan)


class Resamples:
    """Bootstrap weights over a fixed set of problems.

    `weights` (resamples, problems): how often each resample holds each problem, problems in sorted order.
    """

    def __init__(
        self, problem_ids: Sequence[str], *, resamples: int, confidence_level: float, rng: np.random.Generator
    ) -> None:
        """Draw problems with replacement, one resample after the other, as `legibility.metrics.bootstrap` does."""
        names = sorted(set(problem_ids))
        count = len(names)
        self.place = {name: i for i, name in enumerate(names)}
        self.confidence_level = confidence_level
        self.weights = np.zeros((resamples, count), dtype=np.float32)
        if count:
            for row in self.weights:
                row[:] = np.bincount(rng.integers(0, count, count), minlength=count)

    @classmethod
    def multinomial(
        cls, problem_ids: Sequence[str], *, resamples: int, confidence_level: float, rng: np.random.Generator
    ) -> Resamples:
        """The same distribution by multinomial draws, which take another number of values from `rng`."""
        made = cls(problem_ids, resamples=0, confidence_level=confidence_level, rng=rng)
        count = len(made.place)
        made.weights = rng.multinomial(count, np.full(count, 1 / max(count, 1)), size=resamples).astype(np.float32)
        return made

    def _columns(self, problem_ids: Sequence[str]) -> np.ndarray:
        return np.array([self.place[p] for p in problem_ids], dtype=np.int64)

    def ratio(self, problem_ids: Sequence[str], numerators: Any, denominators: Any) -> Figure:
        """sum(numerators) / sum(denominators), each (n,), one entry per text or problem.

        Without draws, and so without an interval, where fewer than `LEAST_UNITS` problems are in it.
        """
        columns = self._columns(problem_ids)
        size = self.weights.shape[1]
        above = np.bincount(columns, np.asarray(numerators, dtype=float), size)
        below = np.bincount(columns, np.asarray(denominators, dtype=float), size)
        with np.errstate(divide="ignore", invalid="ignore"):
            value, draws = np.float64(above.sum()) / below.sum(), (self.weights @ above) / (self.weights @ below)
        if np.count_nonzero(below) < LEAST_UNITS:
            draws = np.full(len(self.weights), np.nan)
        return Figure(float(value), draws, self.confidence_level)

    def mean(self, problem_ids: Sequence[str], values: Any, weights: Any = None) -> Figure:
        """The (weighted) mean of values (n,), nan entries left out."""
        values = np.asarray(values, dtype=float)
        weights = np.where(np.isnan(values), 0.0, 1.0 if weights is None else weights)
        return self.ratio(problem_ids, np.where(weights > 0, values, 0.0) * weights, weights)

    def auroc(self, scores: Any, correct: Any, problem_ids: Sequence[str]) -> Figure:
        """`legibility.metrics.auroc` with its interval."""
        values, labels = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
        whole = auroc(values, labels)
        if np.isnan(whole) or len(set(problem_ids)) < LEAST_UNITS:
            return Figure(whole, np.full(len(self.weights), np.nan), self.confidence_level)
        order = np.argsort(values, kind="stable")
        columns, labels = self._columns(problem_ids)[order], labels[order]
        starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))  # of runs of equal scores
        draws, step = [], max(1, CHUNK // len(values))
        for begin in range(0, len(self.weights), step):
            weights = self.weights[begin : begin + step][:, columns]
            right = np.add.reduceat(weights * labels, starts, axis=1)
            wrong = np.add.reduceat(weights * ~labels, starts, axis=1)
            won = (right * (np.cumsum(wrong, axis=1) - wrong / 2)).sum(1, dtype=float)
            with np.errstate(invalid="ignore"):
                draws.append(won / (right.sum(1, dtype=float) * wrong.sum(1, dtype=float)))
        return Figure(whole, np.concatenate(draws), self.confidence_level)

    def pairwise(
        self,
        scores: Any,
        correct: Any,
        problem_ids: Sequence[str],
        weights: Any = None,
        within: Sequence[Hashable] | None = None,
    ) -> Figure:
        """`legibility.metrics.pairwise_accuracy` with its interval; pairs weigh the product of their texts' weights.

        within (n,): something else the two texts of a pair must share, such as their style.
        """
        groups = list(zip(problem_ids, [None] * len(problem_ids) if within is None else within, strict=True))
        won, total = pair_counts(scores, correct, groups, weights)
        return self.ratio([problem for problem, _ in won], list(won.values()), [total[group] for group in won])

    def pair_ratio(self, problem_ids: Sequence[str], numerators: np.ndarray, denominators: np.ndarray) -> Figure:
        """sum(numerators) / sum(denominators) over pairs of texts, each (n, n); a pair weighs as both its problems do.

        Without draws where fewer than `LEAST_UNITS` problems are in it.
        """
        columns = self._columns(problem_ids)
        weights = self.weights[:, columns]
        above, below = (
            np.einsum("ri,ri->r", weights @ m.astype(np.float32), weights) for m in (numerators, denominators)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            value, draws = np.float64(numerators.sum()) / denominators.sum(), above / below
        if len(np.unique(columns[denominators.sum(axis=1) > 0])) < LEAST_UNITS:
            draws = np.full(len(self.weights), np.nan)
        return Figure(float(value), draws, self.confidence_level)


def shared_resamples(config: Config, problem_ids: Sequence[str], resamples: int, confidence_level: float) -> Resamples:
    """The resamples of a run's test problems: the same for its summary and for every section of an evaluation."""
    rng = bootstrap_stream(config)
    return Resamples(problem_ids, resamples=resamples, confidence_level=confidence_level, rng=rng)


def bootstrap_stream(config: Config) -> np.random.Generator:
    """The random numbers of every bootstrap over a run's test problems."""
    return stream(config.seed, "bootstrap")
