"""When a prover phase ends early, and when its verifier counts as exploited.

Kirchner et al. 2024: a round stops when sneaky-incorrect text convinces the verifier as much as
helpful-correct text does (Fig. 5 caption), for CGC also with low sneaky accuracy (Sec. 5.1). The same
comparison, smoothed, defines `steps_to_exploit`.
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
