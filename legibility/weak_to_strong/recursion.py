"""The auto-aligner inside a study: its generations as cells, its drift curve, and what it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from legibility.weak_to_strong.auto_aligner import Generation, align, supervisor
from legibility.weak_to_strong.cells import Cell, Result, load_or
from legibility.weak_to_strong.context import Study
from legibility.weak_to_strong.items import labels
from legibility.weak_to_strong.study_settings import AutoAlignerSettings

WATCHED = ("student", "trusted", "validation", "test")


def auto_aligner_summary(study: Study, tables: Any) -> dict[str, Any]:
    """Drift by generation, the accuracy of the final supervisor, and of one jump and of bootstrapping between the same ends."""
    settings = study.config.auto_aligner
    assert settings is not None
    runs = [generations(study, seed) for seed in study.config.seeds]
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
    jump = np.stack([(_one_jump(study, seed)[-1].logits["test"] > 0) == tables.truth for seed in study.config.seeds])
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
        cell = study.student_cell(0, first, last, objective)
        if cell is not None:
            right = tables.right(tables.results(cell))
            result[name] = {"accuracy": tables.accuracy(right), "pgr": tables.pgr(weak, right, ceiling)}
    return result


def auto_aligner_cells(study: Study, seed: int) -> None:
    """Train every generation of one seed, and the one jump with the same calibration."""
    generations(study, seed)
    _one_jump(study, seed)


def generations(study: Study, seed: int) -> list[Generation]:
    """The generations of one seed, from the folder or trained now."""
    settings = study.config.auto_aligner
    assert settings is not None
    return _aligned(study, seed, settings)


def _one_jump(study: Study, seed: int) -> list[Generation]:
    """First and last generation only: what calibration alone is worth."""
    settings = study.config.auto_aligner
    assert settings is not None
    first, *_, last = settings.generations
    return _aligned(study, seed, settings.model_copy(update={"generations": [first, last], "stop": False}))


def _aligned(study: Study, seed: int, settings: AutoAlignerSettings) -> list[Generation]:
    parts = study.parts(seed)

    def teach(g: int, model: str, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        def compute() -> Result:
            watched = {p: getattr(parts, p) for p in WATCHED}
            trained = study.train(
                Cell("student", seed, (model,)),
                parts.student,
                probabilities,
                watched,
                objective=settings.objective,
                curve=False,
            )
            return Result({"steps": trained.steps, **trained.logits}, {})

        result = load_or(study.run, f"cells/seed-{seed}/auto-aligner/{g}-{model}", compute)
        return {p: result.last(p).astype(float) for p in WATCHED}

    weak = study.cell(Cell("weak", seed, (settings.generations[0],)))
    return align(settings, {p: weak.last(p).astype(float) for p in WATCHED}, teach, labels(parts.trusted))
