"""Which cells an experiment trains: from the combinations of its grid to cells.

A combination is one student. Its cell needs its supervisor's cell in turn (`cells.with_needs`); its entry in
the summary also needs the plain weak model and the ceiling.
"""

from __future__ import annotations

from legibility.weak_to_strong.cells import Cell
from legibility.weak_to_strong.experiment_settings import Combination, ExperimentSettings


def chain(settings: ExperimentSettings, weak: str, strong: str) -> tuple[str, ...]:
    """The bootstrapping path: what `steps_between` allows and stands between the two in `models`, in that order."""
    names = list(settings.models)
    grid_students = {s for block in settings.grid for s in block.strong}
    allowed = grid_students if settings.steps_between is None else settings.steps_between
    first, last = names.index(weak), names.index(strong)
    return (weak, *(n for n in names[first + 1 : max(first + 1, last)] if n in allowed), strong)


def student_cell(settings: ExperimentSettings, seed: int, student: Combination) -> Cell | None:
    """The cell of a combination; None for bootstrapping without a size in between (it would be xent)."""
    weak, strong, objective, teacher, oversight = student
    if objective != "bootstrapping":
        return Cell("student", seed, (weak, strong), objective, teacher, oversight)
    path = chain(settings, weak, strong)
    return None if len(path) == 2 else Cell("student", seed, path, "xent", teacher, oversight)


def ceiling_cell(seed: int, strong: str, objective: str) -> Cell:
    """The ceiling of a student: a probe for a probe, otherwise the model trained on half B's truth."""
    return Cell("ceiling", seed, (strong,), "probe" if objective == "probe" else "xent")


def planned_cells(settings: ExperimentSettings) -> list[Cell]:
    """Every cell the grid and the analyses' comparisons need, but for what those need themselves."""
    wanted: list[Cell] = []
    combinations = settings.combinations()
    if settings.auto_aligner:
        first, *_, last = settings.auto_aligner.generations
        combinations += [Combination(first, last, "xent"), Combination(first, last, "bootstrapping")]
    for seed in settings.seeds:
        for combination in combinations:
            student = student_cell(settings, seed, combination)
            wanted += [student] if student else []
            wanted.append(Cell("weak", seed, (combination.weak,)))
            wanted.append(ceiling_cell(seed, combination.strong, combination.objective))
        if settings.in_context:
            wanted.append(Cell("weak", seed, (settings.in_context.weak,)))
    return list(dict.fromkeys(wanted))
