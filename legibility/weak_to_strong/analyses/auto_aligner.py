"""The recursive auto-aligner (Sang et al. 2024, phase 2; proposed there, not validated).

Generation 0 is the weak model. Each generation is calibrated on the small trusted set, labels half B
and teaches the next, larger one. The drift to fear is that every generation learns its teacher's
mistakes; agreement with the trusted set is watched, and an alarm stops the recursion at the last sound
generation. The trusted set is used for calibration and alarms only; nothing here trains or chooses on
the test part, whose log-odds are only carried along for the summary.

`align` is the recursion itself, free of models and files; below it stands what an experiment stores and
says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from legibility.weak_to_strong.cells import Cell, CellInfo, CellResult, load_or
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import AlignerPath, AutoAlignerSection, DriftPoint
from legibility.weak_to_strong.experiment_settings import AutoAlignerSettings, Combination
from legibility.weak_to_strong.grid_results import GridResults
from legibility.weak_to_strong.items import labels
from legibility.weak_to_strong.plan import ceiling_cell, student_cell
from legibility.weak_to_strong.teachers import Logits

WATCHED = ("student", "trusted", "validation", "test")  # the parts whose log-odds a generation keeps


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

    first: log-odds of generation 0, of "student" and "trusted" at least. teach(g, model, probabilities):
    trains generation g on half B's labels and returns its log-odds. trusted: the trusted set's labels.
    With `stop` an alarm is the last generation returned; `supervisor` says which one may be used.
    """
    names = settings.generations
    generations = [_generation(settings, names[0], first, trusted, [])]
    for g, name in enumerate(names[1:], start=1):
        if settings.stop and generations[-1].alarm:
            break
        probabilities = expit(generations[-1].logits["student"])
        generations.append(_generation(settings, name, teach(g, name, probabilities), trusted, generations))
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


# ---- in an experiment -------------------------------------------------------------------------


def auto_aligner_cells(experiment: Experiment, seed: int) -> None:
    """Train every generation of one seed, and the one jump with the same calibration."""
    generations(experiment, seed)
    one_jump(experiment, seed)


def generations(experiment: Experiment, seed: int) -> list[Generation]:
    """The generations of one seed, from the folder or trained now."""
    return _aligned(experiment, seed, _settings(experiment))


def one_jump(experiment: Experiment, seed: int) -> list[Generation]:
    """First and last generation only: what calibration alone is worth."""
    settings = _settings(experiment)
    first, *_, last = settings.generations
    return _aligned(experiment, seed, settings.model_copy(update={"generations": [first, last], "stop": False}))


def auto_aligner_summary(experiment: Experiment, results: GridResults) -> AutoAlignerSection:
    """Drift by generation, the accuracy of the final supervisor, and of the other paths between the same ends."""
    settings, seeds = _settings(experiment), experiment.config.seeds
    truth, estimator = results.truth, results.estimator
    runs = [generations(experiment, seed) for seed in seeds]
    jumps = [one_jump(experiment, seed) for seed in seeds]
    first, *_, last = settings.generations
    weak, ceiling = results.right(Cell("weak", 0, (first,))), results.right(ceiling_cell(0, last, "xent"))

    def path(right: np.ndarray) -> AlignerPath:
        return AlignerPath(accuracy=estimator.accuracy(right), pgr=estimator.pgr(weak, right, ceiling))

    plain = {"one_jump": "xent", "bootstrapping": "bootstrapping"}
    cells = {k: student_cell(experiment.config, 0, Combination(first, last, o)) for k, o in plain.items()}
    return AutoAlignerSection(
        generations=settings.generations,
        objective=settings.objective,
        drift=[_drift(g, [run for run in runs if len(run) > g], truth) for g in range(max(len(run) for run in runs))],
        supervisor_generation=[supervisor(run) for run in runs],
        alarms=[[g.alarm for g in run] for run in runs],
        auto_aligner=path(np.stack([(run[supervisor(run)].logits["test"] > 0) == truth for run in runs])),
        one_jump_calibrated=path(np.stack([(jump[-1].logits["test"] > 0) == truth for jump in jumps])),
        **{name: path(results.right(cell)) for name, cell in cells.items() if cell is not None},
    )


def _drift(g: int, reached: Sequence[Sequence[Generation]], truth: np.ndarray) -> DriftPoint:
    """Generation g, over the seeds that reached it."""
    tested = [run[g].logits["test"] > 0 for run in reached]
    begun = [run[0].logits["test"] > 0 for run in reached]
    return DriftPoint(
        generation=g,
        model=reached[0][g].model,
        seeds=len(reached),
        trusted_agreement=float(np.mean([run[g].trusted_agreement for run in reached])),
        agreement_with_generation_0=float(np.mean([(t == b).mean() for t, b in zip(tested, begun, strict=True)])),
        test_accuracy=float(np.mean([(t == truth).mean() for t in tested])),
        alarms=sum(run[g].alarm is not None for run in reached),
    )


def _aligned(experiment: Experiment, seed: int, settings: AutoAlignerSettings) -> list[Generation]:
    parts = experiment.parts(seed)

    def teach(g: int, model: str, probabilities: np.ndarray) -> Logits:
        def compute() -> CellResult[CellInfo]:
            trained = experiment.train(
                Cell("student", seed, (model,)),
                parts.student,
                probabilities,
                {p: getattr(parts, p) for p in WATCHED},
                objective=settings.objective,
                curve=False,
            )
            return CellResult({"steps": trained.steps, **trained.logits}, CellInfo())

        result = load_or(experiment.run, f"cells/seed-{seed}/auto-aligner/{g}-{model}", CellInfo, compute)
        return {p: result.last(p).astype(float) for p in WATCHED}

    weak = experiment.cell(Cell("weak", seed, (settings.generations[0],)))
    return align(settings, {p: weak.last(p).astype(float) for p in WATCHED}, teach, labels(parts.trusted))


def _settings(experiment: Experiment) -> AutoAlignerSettings:
    assert experiment.config.auto_aligner is not None  # only called where the section is there
    return experiment.config.auto_aligner
