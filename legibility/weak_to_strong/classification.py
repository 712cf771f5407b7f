"""Any classification data set as items, by mapping its columns (SciQ, BoolQ, CosmosQA style).

Burns et al. 2023, App. A.1: every data set becomes balanced and binary. A multiple-choice question
gives two items, the right choice and one wrong choice drawn at random: "is this the answer?".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.problems.records import Problem
from legibility.problems.sources import dataset_rows, from_hub, read_file
from legibility.randomness import stream
from legibility.weak_to_strong.items import Item
from legibility.weak_to_strong.task_settings import ClassificationTask

YES, NO = {"1", "true", "yes", "y", "correct"}, {"0", "false", "no", "n", "incorrect"}


def classification_rows(task: ClassificationTask, base_dir: Path | None) -> dict[str, list[Item]]:
    """Items of "train" (or "weak" and "student"), "validation" and "test". Raises UserError for a column that is missing or unreadable."""
    if task.path is not None:
        train = _file(task, task.path, base_dir)
    else:
        place = f"{task.name} {task.split}"
        found = from_hub(
            str(task.name),
            task.subset,
            task.split,
            "check name, subset and split, or save it as JSONL and give its path",
        )
        train = _items(task, dataset_rows(found, place), place)
    if task.test_path is not None:
        held_out = _file(task, task.test_path, base_dir)
    else:
        train, held_out = _set_aside(train, 0.4)
    validation, test = _set_aside(held_out, 2 / 3)
    aside = {"validation": validation, "test": test}
    if task.student_path is not None:
        return {"weak": train, "student": _file(task, task.student_path, base_dir), **aside}
    return {"train": train, **aside}


def _file(task: ClassificationTask, path: str, base_dir: Path | None) -> list[Item]:
    file = Path(base_dir or ".") / Path(path).expanduser()
    return _items(task, read_file(file), str(file))


def _items(task: ClassificationTask, rows: Iterable[tuple[str, Mapping[Any, Any]]], place: str) -> list[Item]:
    items: list[Item] = []
    for number, (where, row) in enumerate(rows):
        text = "\n".join(str(_cell(row, column, where)) for column in task.text)
        problem = Problem(id=f"{place}-{number}", question=text, answer="", source=place)
        items += _binary(task, row, where, problem) if task.choices is None else _choices(task, row, where, problem)
    found = {x.label for x in items}
    if len(found) < 2:
        what = "no rows" if not items else f"one class only ({'right' if found.pop() else 'wrong'})"
        raise UserError(f"{place}: {what} in column {task.label!r}; a classifier needs both labels")
    return items


def _binary(task: ClassificationTask, row: Mapping[Any, Any], where: str, problem: Problem) -> list[Item]:
    value = str(_cell(row, task.label, where)).strip().lower()
    if value not in YES | NO:
        raise UserError(
            f"{where}: column {task.label!r} holds {value[:40]!r}; binary labels are true/false, 1/0 or yes/no (or set choices)"
        )
    candidate = "" if task.candidate is None else str(_cell(row, task.candidate, where))
    return [Item(problem.id, problem.question, problem, (candidate,), value in YES)]


def _choices(task: ClassificationTask, row: Mapping[Any, Any], where: str, problem: Problem) -> list[Item]:
    columns = task.choices or []
    options = _cell(row, columns[0], where) if len(columns) == 1 else [_cell(row, c, where) for c in columns]
    if not isinstance(options, (list, tuple)) or len(options) < 2:
        raise UserError(f"{where}: choices {columns} must be a column with a list, or at least two columns")
    options = [str(x) for x in options]
    right = _right_choice(_cell(row, task.label, where), options, columns, where, task.label)
    rng = stream("choice", problem.question)
    wrong = int(rng.choice([i for i in range(len(options)) if i != right]))
    return [
        Item(f"{problem.id}/{name}", problem.question, problem, (options[i],), name == "right")
        for name, i in (("right", right), ("wrong", wrong))
    ]


def _right_choice(label: Any, options: list[str], columns: list[str], where: str, column: str) -> int:
    """The index a label means: the choice's text, its column's name, its letter or its number from 0."""
    text = str(label).strip()
    letters = [chr(ord("A") + i) for i in range(len(options))]
    for names in (options, columns if len(columns) > 1 else [], letters, [str(i) for i in range(len(options))]):
        if names.count(text) == 1:
            return names.index(text)
    raise UserError(
        f"{where}: column {column!r} holds {text[:40]!r}, which is no choice, column, letter or number of {len(options)} choices"
    )


def _cell(row: Mapping[Any, Any], column: str, where: str) -> Any:
    if column not in row:
        raise UserError(f"{where}: no column {column!r}; columns there: {', '.join(map(str, row)) or 'none'}")
    if row[column] is None:
        raise UserError(f"{where}: column {column!r} is empty")
    return row[column]


def _set_aside(items: list[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Two parts split by group at random; the second holds about `share` of the groups."""
    groups = list(dict.fromkeys(x.group for x in items))
    order = stream("set aside").permutation(len(groups))
    aside = {groups[i] for i in order[: round(share * len(groups))]}
    return [x for x in items if x.group not in aside], [x for x in items if x.group in aside]
