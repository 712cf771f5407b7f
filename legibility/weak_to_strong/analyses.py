"""The analyses beside the grid: what each computes for a seed, and what it says in the summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from legibility.weak_to_strong.context import Study
from legibility.weak_to_strong.game_teacher import game_teacher_cell, game_teacher_summary
from legibility.weak_to_strong.generation import generation_cell, generation_summary
from legibility.weak_to_strong.prompting import in_context_cell, in_context_summary
from legibility.weak_to_strong.recursion import auto_aligner_cells, auto_aligner_summary
from legibility.weak_to_strong.study_settings import StudyConfig


class Analysis(NamedTuple):
    """`compute(study, seed)` stores what one seed needs; `summary(study, tables)` reads it and makes the table.

    `weak(config)`: the weak model whose cell `compute` reads, if any.
    """

    compute: Callable[[Study, int], Any]
    summary: Callable[[Study, Any], dict[str, Any]]
    weak: Callable[[StudyConfig], str | None] = lambda config: None


ANALYSES = {  # the config's section -> its analysis
    "auto_aligner": Analysis(
        auto_aligner_cells, auto_aligner_summary, lambda config: config.auto_aligner.generations[0]
    ),
    "in_context": Analysis(in_context_cell, in_context_summary, lambda config: config.in_context.weak),
    "game_teacher": Analysis(game_teacher_cell, lambda study, _: game_teacher_summary(study)),
    "generation": Analysis(generation_cell, lambda study, _: generation_summary(study)),
}


def wanted(config: StudyConfig) -> list[str]:
    """The analyses the config asks for."""
    return [name for name in ANALYSES if getattr(config, name) is not None]
