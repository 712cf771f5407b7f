"""The recursive auto-aligner (Sang et al. 2024, phase 2; proposed there, not validated).

Generation 0 is the weak model. Each generation is calibrated on the small trusted set, labels half B
and teaches the next, larger one. The drift to fear is that every generation learns its teacher's
mistakes; agreement with the trusted set is watched, and an alarm stops the recursion at the last sound
generation. The trusted set is used for calibration and alarms only; nothing here sees the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from legibility.weak_to_strong.cells import Cell, Result, load_or
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import AutoAlignerSettings
from legibility.weak_to_strong.items import labels

Logits = dict[str, np.ndarray]  # part -> (items,); holds "student" and "trusted" at least


WATCHED = ("student", "trusted", "validation", "test")


def auto_aligner_summary(experiment: Experiment, tables: Any) -> dict[str, Any]:
    """Drift by generation, the accuracy of the final supervisor, and of one jump and of bootstrapping between the same ends."""
    settings = experiment.config.auto_aligner
    assert settings is not None
    runs = [generations(experiment, seed) for seed in experiment.config.seeds]
    longest = max(map(len, runs))
    drift = []
    for g in range(longest):
        reached = [r for r in runs if len(r) > g]
        tested = [r[g].logits["test"] > 0 for r in reached]
        drift.append(
            {
                "generation": g,
                "model": settings.generations[g],
                "seeds": len(reached),
                "trusted_agreement": float(np.mean([r[g].trusted_agreement for r in reached])),
                "agreement_with_generation_0": float(
                    np.mean([(t == (r[0].logits["test"] > 0)).mean() for t, r in zip(tested, reached, strict=True)])
                ),
                "test_accuracy": float(np.mean([(t == tables.truth).mean() for t in tested])),
                "alarms": sum(r[g].alarm is not None for r in reached),
            }
        )
    final = np.stack([(r[supervisor(r)].logits["test"] > 0) == tables.truth for r in runs])
    first, *_, last = settings.generations
    jump = np.stack(
        [(_one_jump(experiment, seed)[-1].logits["test"] > 0) == tables.truth for seed in experiment.config.seeds]
    )
    weak = tables.right(tables.results(Cell("weak", 0, (first,))))
    ceiling = tables.right(tables.results(Cell("ceiling", 0, (last,))))
    result = {
        "generations": settings.generations,
        "objective": settings.objective,
        "drift": drift,
        "supervisor_generation": [supervisor(r) for r in runs],
        "alarms": [[g.alarm for g in r] for r in runs],
        "auto_aligner": {"accuracy": tables.accuracy(final), "pgr": tables.pgr(weak, final, ceiling)},
        "one_jump_calibrated": {"accuracy": tables.accuracy(jump), "pgr": tables.pgr(weak, jump, ceiling)},
    }
    for name, objective in (("one_jump", "xent"), ("bootstrapping", "bootstrapping")):
        cell = experiment.student_cell(0, first, last, objective)
        if cell is not None:
            right = tables.right(tables.results(cell))
            result[name] = {"accuracy": tables.accuracy(right), "pgr": tables.pgr(weak, right, ceiling)}
    return result


def auto_aligner_cells(experiment: Experiment, seed: int) -> None:
    """Train every generation of one seed, and the one jump with the same calibration."""
    generations(experiment, seed)
    _one_jump(experiment, seed)


def generations(experiment: Experiment, seed: int) -> list[Generation]:
    """The generations of one seed, from the folder or trained now."""
    settings = experiment.config.auto_aligner
    assert settings is not None
    return _aligned(experiment, seed, settings)


def _one_jump(experiment: Experiment, seed: int) -> list[Generation]:
    """First and last generation only: what calibration alone is worth."""
    settings = experiment.config.auto_aligner
    assert settings is not None
    first, *_, last = settings.generations
    return _aligned(experiment, seed, settings.model_copy(update={"generations": [first, last], "stop": False}))


def _aligned(experiment: Experiment, seed: int, settings: AutoAlignerSettings) -> list[Generation]:
    parts = experiment.parts(seed)

    def teach(g: int, model: str, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        def compute() -> Result:
            watched = {p: getattr(parts, p) for p in WATCHED}
            trained = experiment.train(
                Cell("student", seed, (model,)),
                parts.student,
                probabilities,
                watched,
                objective=settings.objective,
                curve=False,
            )
            return Result({"steps": trained.steps, **trained.logits}, {})

        result = load_or(experiment.run, f"cells/seed-{seed}/auto-aligner/{g}-{model}", compute)
        return {p: result.last(p).astype(float) for p in WATCHED}

    weak = experiment.cell(Cell("weak", seed, (settings.generations[0],)))
    return align(settings, {p: weak.last(p).astype(float) for p in WATCHED}, teach, labels(parts.trusted))


@dataclass(frozen=True)
class Generation:
    """One generation: its calibrated log-odds by part, agreement with the trusted labels, and the alarm, if any."""

    model: str
    logits: Logits
    trusted_agreement: float
    alarm: str | None = None


def align(
    settings: AutoAlignerSettings, first: Logits, teach: Callable[[int, str, np.ndarray], Logits], trusted: np.ndarray
) -> list[Generation]:
    """Run the recursion; returns every generation trained, in order.

    first: log-odds of generation 0. teach(g, model, probabilities): trains generation g on half B's
    labels and returns its log-odds. trusted: the trusted set's labels. With `stop` an alarm is the
    last generation returned; `supervisor` says which one may be used.
    """
    names = settings.generations
    generations = [_generation(settings, names[0], first, trusted, [])]
    for g, name in enumerate(names[1:], start=1):
        if settings.stop and generations[-1].alarm:
            break
        labels = expit(generations[-1].logits["student"])
        generations.append(_generation(settings, name, teach(g, name, labels), trusted, generations))
    return generations


def supervisor(generations: Sequence[Generation]) -> int:
    """Index of the last generation before the first alarm (the first one if even it raised one)."""
    alarmed = [i for i, g in enumerate(generations) if g.alarm]
    return len(generations) - 1 if not alarmed else max(0, alarmed[0] - 1)


def calibrate(logits: Logits, trusted: np.ndarray) -> Logits:
    """Platt scaling fitted on the trusted part: a slope and a shift of the log-odds, the slope never negative."""
    model = _platt().fit(logits["trusted"][:, None], trusted)
    slope, shift = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:  # worse than chance on the trusted set: keep the order, do not believe it
        slope, shift = 1e-3, 0.0
    return {part: slope * values + shift for part, values in logits.items()}


def trusted_agreement(logits: np.ndarray, trusted: np.ndarray) -> float:
    """Accuracy on the trusted set of the calibrated model, cross-validated, since the same few items calibrate it."""
    folds = min(5, int(np.bincount(trusted.astype(int), minlength=2).min()))
    if folds < 2:
        return float(((logits > 0) == trusted).mean())
    plan = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float((cross_val_predict(_platt(), logits[:, None], trusted, cv=plan) == trusted).mean())


def _generation(
    settings: AutoAlignerSettings, name: str, raw: Logits, trusted: np.ndarray, earlier: Sequence[Generation]
) -> Generation:
    agreed = trusted_agreement(raw["trusted"], trusted)
    best = max((g.trusted_agreement for g in earlier), default=agreed)
    alarm = None
    if agreed < settings.floor:
        alarm = f"agreement with the trusted set {agreed:.3f} is below the floor {settings.floor}"
    elif agreed < best - settings.tolerance:
        alarm = f"agreement with the trusted set fell from {best:.3f} to {agreed:.3f}"
    return Generation(name, calibrate(raw, trusted), agreed, alarm)


def _platt() -> LogisticRegression:
    return LogisticRegression(C=1.0)
