"""When a prover phase ends early, and when its verifier counts as exploited: in the game and in every attack.

Kirchner et al. 2024: a round stops when sneaky-incorrect text convinces the verifier as much as
helpful-correct text does (Fig. 5 caption), for CGC also with sneaky accuracy below 5 % (Sec. 5.1); a Goodhart
round when accuracy, averaged over the last 80 steps, falls below 0.2 (Sec. 5.2). The same comparison defines
`steps_to_exploit`.

Departures: figures are smoothed exponentially (`stop.ema`). Two least amounts of evidence are asked for,
`stop.min_steps` and `stop.min_samples` behind every smoothed figure: a small batch would else fool a verifier at
its first step by chance. Low sneaky accuracy is asked for with SRC too, at or
below `stop.sneaky_accuracy` (10 % by default, for CGC as well): a sneaky role that is mostly right leaves few
incorrect texts to compare. `stop.sneaky_accuracy: 1` is the paper's rule for SRC, 0.05 its rule for CGC.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from pydantic import Field

from legibility.config import StopSettings
from legibility.stored import Number, Stored


class AverageSoFar(Stored):
    """A `Smoothed` figure in a checkpoint."""

    value: Number = Field(description="The average; null before its first batch.")
    samples: float = Field(description="How many equally weighted samples stand behind it.")


class TrackerSoFar(Stored):
    """What a tracker has seen, in a checkpoint."""

    averages: dict[str, AverageSoFar] = Field(description="Smoothed figures by name.")
    exploited_at: int | None = Field(description="Step at which the verifier was fooled; null: it was not.")
    fixed_exploited_at: int | None = Field(
        None, description="The same of an attack against round 0's text; null elsewhere."
    )


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

    def so_far(self) -> TrackerSoFar:
        """What it has seen."""

    def go_on_from(self, seen: TrackerSoFar) -> None:
        """Be as the tracker was whose `so_far` this is."""


class Smoothed:
    """An exponential average of the means of successive batches: value += weight * (mean - value), begun at the first.

    `samples` is how many equally weighted samples are as good as what stands behind it (Kish's effective number):
    1 / sum(w_t^2 / n_t) over steps t of n_t samples, w_t the weight of step t in the average. 0 before the first.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.value = math.nan
        self.samples = 0.0

    def update(self, mean: float, samples: float) -> None:
        """Take in one batch. A nan (an empty cell) leaves all as it was."""
        if math.isnan(mean):
            return
        if math.isnan(self.value):
            self.value, self.samples = mean, samples
            return
        self.value += self.weight * (mean - self.value)
        self.samples = 1 / ((1 - self.weight) ** 2 / self.samples + self.weight**2 / samples)


class SmoothedTracker(ABC):
    """Smoothed figures of a prover phase, and the first step at which they meet a criterion with enough behind them."""

    reason: str

    def __init__(self, settings: StopSettings, names: tuple[str, ...]) -> None:
        self.settings = settings
        self.averages = {name: Smoothed(settings.ema) for name in names}
        self.exploited_at: int | None = None

    @abstractmethod
    def read(self, metrics: Mapping[str, float]) -> Mapping[str, tuple[float, float]]:
        """Every figure's mean and number of samples in a step's metrics (legibility.game.rollout_columns.describe)."""

    @property
    @abstractmethod
    def gap(self) -> float:
        """As in `Tracker`."""

    @property
    @abstractmethod
    def exploited(self) -> bool:
        """Whether the smoothed figures meet the criterion now, however little stands behind them."""

    def should_stop(self, step: int) -> bool:
        """Whether the phase ends after this step: exploited, and `patience` steps past that, unless all are to be made."""
        if self.settings.rule == "fixed" or self.exploited_at is None:
            return False
        return step >= self.exploited_at + self.settings.patience

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of a step (1-based)."""
        for name, (mean, samples) in self.read(metrics).items():
            self.averages[name].update(mean, samples)
        if self.exploited_at is None and self.enough(step) and self.exploited:
            self.exploited_at = step

    def so_far(self) -> TrackerSoFar:
        """As in `Tracker`."""
        averages = {name: AverageSoFar(value=a.value, samples=a.samples) for name, a in self.averages.items()}
        return TrackerSoFar(averages=averages, exploited_at=self.exploited_at)

    def go_on_from(self, seen: TrackerSoFar) -> None:
        """As in `Tracker`."""
        self.exploited_at = seen.exploited_at
        for name, average in seen.averages.items():
            value = math.nan if average.value is None else average.value
            self.averages[name].value, self.averages[name].samples = value, average.samples

    def enough(self, step: int) -> bool:
        """Whether a criterion that holds after this step may count: `min_steps` and `min_samples` are reached."""
        settings = self.settings
        return step >= settings.min_steps and all(a.samples >= settings.min_samples for a in self.averages.values())


class FooledTracker(SmoothedTracker):
    """The game's: scores of helpful-correct and sneaky-incorrect text, and sneaky accuracy."""

    reason = "the sneaky role fools the verifier"

    def __init__(self, settings: StopSettings) -> None:
        super().__init__(settings, ("helpful_correct", "sneaky_incorrect", "sneaky_accuracy"))

    def read(self, metrics: Mapping[str, float]) -> Mapping[str, tuple[float, float]]:
        """As in `SmoothedTracker`."""
        return {
            "helpful_correct": (metrics["score_helpful_correct"], metrics["texts_helpful_correct"]),
            "sneaky_incorrect": (metrics["score_sneaky_incorrect"], metrics["texts_sneaky_incorrect"]),
            "sneaky_accuracy": (metrics["accuracy_sneaky"], metrics["texts_sneaky"]),
        }

    @property
    def gap(self) -> float:
        """Smoothed C(helpful, correct) - C(sneaky, incorrect); nan until both cells were seen."""
        return self.averages["helpful_correct"].value - self.averages["sneaky_incorrect"].value

    @property
    def exploited(self) -> bool:
        """Whether sneaky-incorrect text scores as high as helpful-correct text, and sneaky accuracy is low."""
        return self.gap <= 0 and self.averages["sneaky_accuracy"].value <= self.settings.sneaky_accuracy


class TranslationTracker(FooledTracker):
    """The decoupled game's: sneaky-incorrect text against faithful text of right solutions (arXiv 2602.23248, App. B)."""

    def read(self, metrics: Mapping[str, float]) -> Mapping[str, tuple[float, float]]:
        """As in `SmoothedTracker`."""
        mine = {"helpful_correct": (metrics["score_faithful_solved"], metrics["texts_faithful_solved"])}
        return {**super().read(metrics), **mine}


class CollapseTracker(SmoothedTracker):
    """A Goodhart game's, which has no roles: accuracy. Over when optimising V costs it."""

    reason = "accuracy has collapsed"

    def __init__(self, settings: StopSettings) -> None:
        super().__init__(settings, ("accuracy",))

    def read(self, metrics: Mapping[str, float]) -> Mapping[str, tuple[float, float]]:
        """As in `SmoothedTracker`."""
        return {"accuracy": (metrics["accuracy_helpful"], metrics["texts_helpful"])}

    @property
    def gap(self) -> float:
        """Smoothed accuracy minus its bound; nan before the first step."""
        return self.averages["accuracy"].value - self.settings.goodhart_accuracy

    @property
    def exploited(self) -> bool:
        """Whether smoothed accuracy is below its bound."""
        return self.gap < 0
