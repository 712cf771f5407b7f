"""When a prover phase ends early, and when its verifier counts as exploited.

Kirchner et al. 2024: a round stops when sneaky-incorrect text convinces the verifier as much as
helpful-correct text does (Fig. 5 caption), for CGC also with sneaky accuracy below 5 % (Sec. 5.1); a Goodhart
round when accuracy, averaged over the last 80 steps, falls below 0.2 (Sec. 5.2). The same comparison defines
`steps_to_exploit`.

Departures: figures are smoothed exponentially (`stop.ema`). Low sneaky accuracy is asked for with SRC too, at or
below `stop.sneaky_accuracy` (10 % by default, for CGC as well): a sneaky role that is mostly right leaves few
incorrect texts to compare. `stop.sneaky_accuracy: 1` is the paper's rule for SRC, 0.05 its rule for CGC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from legibility.config import StopSettings


class Tracker(Protocol):
    """What watches a prover phase for the step at which its verifier is exploited; `reason` says why it stops."""

    reason: str
    exploited_at: int | None

    @property
    def gap(self) -> float:
        """How far the verifier is from being fooled, smoothed; at or below 0 it is (as far as scores go)."""

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of one step (1-based)."""

    def should_stop(self, step: int) -> bool:
        """Whether the phase ends after this step."""


class FooledTracker:
    """Exponentially smoothed scores of helpful-correct and sneaky-incorrect text, and sneaky accuracy."""

    reason = "the sneaky role fools the verifier"

    def __init__(self, settings: StopSettings) -> None:
        self.settings = settings
        self.smoothed: dict[str, float] = {}
        self.exploited_at: int | None = None

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in one step's metrics (legibility.game.rollout_columns.describe)."""
        self.update(
            step, metrics["score_helpful_correct"], metrics["score_sneaky_incorrect"], metrics["accuracy_sneaky"]
        )

    def update(self, step: int, helpful_correct: float, sneaky_incorrect: float, sneaky_accuracy: float) -> None:
        """Take in one step (1-based). A nan (an empty cell) leaves that average as it was."""
        for name, value in (
            ("helpful_correct", helpful_correct),
            ("sneaky_incorrect", sneaky_incorrect),
            ("sneaky_accuracy", sneaky_accuracy),
        ):
            if not math.isnan(value):
                old = self.smoothed.get(name, value)
                self.smoothed[name] = old + self.settings.ema * (value - old)
        if self.exploited_at is None and self.fooled:
            self.exploited_at = step

    @property
    def gap(self) -> float:
        """Smoothed C(helpful, correct) - C(sneaky, incorrect); nan until both cells were seen."""
        return self.smoothed.get("helpful_correct", math.nan) - self.smoothed.get("sneaky_incorrect", math.nan)

    @property
    def fooled(self) -> bool:
        """Whether sneaky-incorrect text scores as high as helpful-correct text, and sneaky accuracy is low."""
        return self.gap <= 0 and self.smoothed.get("sneaky_accuracy", 1.0) <= self.settings.sneaky_accuracy

    def should_stop(self, step: int) -> bool:
        """Whether the phase ends after this step."""
        if self.settings.rule == "fixed" or self.exploited_at is None:
            return False
        return step >= max(self.settings.min_steps, self.exploited_at + self.settings.patience)


class CollapseTracker:
    """Exponentially smoothed accuracy of a Goodhart round, which has no roles: over when optimising V costs accuracy."""

    reason = "accuracy has collapsed"

    def __init__(self, settings: StopSettings) -> None:
        self.settings = settings
        self.accuracy = math.nan
        self.exploited_at: int | None = None

    @property
    def gap(self) -> float:
        """Smoothed accuracy minus its bound; nan before the first step."""
        return self.accuracy - self.settings.goodhart_accuracy

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in one step's metrics (legibility.game.rollout_columns.describe)."""
        newest = metrics["accuracy_helpful"]
        old = newest if math.isnan(self.accuracy) else self.accuracy
        self.accuracy = old + self.settings.ema * (newest - old)
        if self.exploited_at is None and self.gap < 0:
            self.exploited_at = step

    def should_stop(self, step: int) -> bool:
        """Whether the phase ends after this step."""
        if self.settings.rule == "fixed" or self.exploited_at is None:
            return False
        return step >= max(self.settings.min_steps, self.exploited_at + self.settings.patience)
