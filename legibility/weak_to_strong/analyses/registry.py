"""The analyses beside the grid: what each computes for a seed, and what it says in the summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from legibility.weak_to_strong.analyses.auto_aligner import auto_aligner_cells, auto_aligner_summary
from legibility.weak_to_strong.analyses.game_teacher import game_teacher_cell, game_teacher_summary
from legibility.weak_to_strong.analyses.generation import generation_cell, generation_summary
from legibility.weak_to_strong.analyses.in_context import in_context_cell, in_context_summary
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import ExperimentSettings


class Analysis(NamedTuple):
    """`compute(experiment, seed)` stores what one seed needs; `summary(experiment, tables)` reads it and makes the table.

    `weak(config)`: the weak model whose cell `compute` reads, if any.
    """

    compute: Callable[[Experiment, int], Any]
    summary: Callable[[Experiment, Any], dict[str, Any]]
    weak: Callable[[ExperimentSettings], str | None] = lambda config: None


ANALYSES = {  # the config's section -> its analysis
    "auto_aligner": Analysis(
        auto_aligner_cells, auto_aligner_summary, lambda config: config.auto_aligner.generations[0]
    ),
    "in_context": Analysis(in_context_cell, in_context_summary, lambda config: config.in_context.weak),
    "game_teacher": Analysis(game_teacher_cell, lambda experiment, _: game_teacher_summary(experiment)),
    "generation": Analysis(generation_cell, lambda experiment, _: generation_summary(experiment)),
}


def wanted(config: ExperimentSettings) -> list[str]:
    """The analyses the config asks for."""
    return [name for name in ANALYSES if getattr(config, name) is not None]
