"""Intervals of everything an experiment says about one set of test items, all made from the same resamples.

Accuracies, differences and PGR of one set of items draw the same problems and seeds again and again, so
their intervals can be set side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from legibility.randomness import stream
from legibility.stored import Interval
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.pgr import PgrEstimate, crossed_bootstrap, pgr_estimate

STREAM = "study bootstrap"  # a stream's name is its seed: another name would move every interval


@dataclass(frozen=True)
class Estimator:
    """Intervals over one set of test items. `groups`: the problem of every item (resampled as one)."""

    groups: Sequence[str]
    resamples: int
    confidence_level: float

    @classmethod
    def of(cls, settings: ExperimentSettings, groups: Sequence[str]) -> Estimator:
        """With the resamples and the confidence level of an experiment."""
        return cls(groups, settings.bootstrap, settings.confidence_level)

    def accuracy(self, right: np.ndarray) -> Interval:
        """Mean of a table (seeds, items) of right answers."""
        return self._interval({"x": right}, lambda m: m["x"])

    def difference(self, one: np.ndarray, other: np.ndarray) -> Interval:
        """Accuracy of one table (seeds, items) minus that of another, paired."""
        return self._interval({"a": one, "b": other}, lambda m: m["a"] - m["b"])

    def pgr(self, weak: np.ndarray, student: np.ndarray, ceiling: np.ndarray) -> PgrEstimate:
        """Gap recovered, of three tables (seeds, items) of right answers."""
        return pgr_estimate(
            weak,
            student,
            ceiling,
            self.groups,
            resamples=self.resamples,
            confidence_level=self.confidence_level,
            rng=stream(STREAM),
        )

    def _interval(self, tables: Mapping[str, np.ndarray], statistic: Callable[[dict[str, float]], float]) -> Interval:
        return crossed_bootstrap(
            tables,
            self.groups,
            statistic,
            resamples=self.resamples,
            confidence_level=self.confidence_level,
            rng=stream(STREAM),
        )[0]
