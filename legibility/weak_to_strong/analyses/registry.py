"""The table of analyses: what each computes for a seed, and what it says in the summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from legibility.stored import Stored
from legibility.weak_to_strong.analyses.auto_aligner import auto_aligner_cells, auto_aligner_summary
from legibility.weak_to_strong.analyses.game_teacher import game_teacher_cell, game_teacher_summary
from legibility.weak_to_strong.analyses.generation import generation_cell, generation_summary
from legibility.weak_to_strong.analyses.in_context import in_context_cell, in_context_summary
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.grid_results import GridResults


@dataclass(frozen=True)
class Analysis:
    """`compute(experiment, seed)` stores what one seed needs; `summary(experiment, results)` reads it for all seeds.

    `weak(settings)`: the weak model whose cell `compute` reads, if any.
    """

    compute: Callable[[Experiment, int], object]
    summary: Callable[[Experiment, GridResults], Stored]
    weak: Callable[[ExperimentSettings], str | None] = lambda settings: None


ANALYSES = {  # the settings' section, and the summary's -> its analysis
    "auto_aligner": Analysis(
        auto_aligner_cells, auto_aligner_summary, lambda s: s.auto_aligner.generations[0] if s.auto_aligner else None
    ),
    "in_context": Analysis(
        in_context_cell,
        lambda experiment, _: in_context_summary(experiment),
        lambda s: s.in_context.weak if s.in_context else None,
    ),
    "game_teacher": Analysis(game_teacher_cell, lambda experiment, _: game_teacher_summary(experiment)),
    "generation": Analysis(generation_cell, lambda experiment, _: generation_summary(experiment)),
}


def wanted(settings: ExperimentSettings) -> list[str]:
    """The analyses the settings ask for."""
    return [name for name in ANALYSES if getattr(settings, name) is not None]
