"""Any classification data set as items, by mapping its columns (SciQ, BoolQ, CosmosQA style).

Burns et al. 2023, App. A.1: every data set becomes balanced and binary. A multiple-choice question
gives two items, the right choice and one wrong choice drawn at random: "is this the answer?".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.problems.record_files import read_file
from legibility.problems.records import Problem
from legibility.problems.sources import dataset_rows, field_names, from_hub, resolve_path
from legibility.randomness import stream
from legibility.weak_to_strong.choice_labels import ChoiceRow, right_choices
from legibility.weak_to_strong.items import Item
from legibility.weak_to_strong.task_settings import ClassificationTask

YES, NO = {"1", "true", "yes", "y", "correct"}, {"0", "false", "no", "n", "incorrect"}


def classification_rows(task: ClassificationTask, base_dir: Path | None) -> dict[str, list[Item]]:
    """Items of "train" (or "weak" and "student"), "validation" and "test". Raises UserError for a column that is missing or unreadable."""
    if task.path is not None:
        train_rows = _file(task.path, base_dir)
    else:
        found = from_hub(
            str(task.name),
            task.subset,
            task.split,
            "check name, subset and split, or save it as JSONL and give its path",
        )
        place = f"{task.name} {task.split}"
        train_rows = _Rows(place, list(dataset_rows(found, place)))
    tables = {"train": train_rows}
    if task.test_path is not None:
        tables["test"] = _file(task.test_path, base_dir)
    if task.student_path is not None:
        tables["student"] = _file(task.student_path, base_dir)
    items = _items(task, tables)
    train = items["train"]
    if task.test_path is not None:
        held_out = items["test"]
    else:
        train, held_out = _set_aside(train, 0.4)
    validation, test = _set_aside(held_out, 2 / 3)
    aside = {"validation": validation, "test": test}
    if task.student_path is not None:
        return {"weak": train, "student": items["student"], **aside}
    return {"train": train, **aside}


@dataclass(frozen=True)
class _Rows:
    """The rows of one file or split, each with where it stands."""

    place: str
    rows: list[tuple[str, Mapping[Any, Any]]]


def _file(path: str, base_dir: Path | None) -> _Rows:
    file = resolve_path(path, base_dir)
    return _Rows(str(file), list(read_file(file)))


def _items(task: ClassificationTask, tables: Mapping[str, _Rows]) -> dict[str, list[Item]]:
    """The items of each table. What a choice's label means is decided over all of them together."""
    right: Iterator[int] = iter(())
    if task.choices is not None:
        asked = [_choice_row(task, row, where) for table in tables.values() for where, row in table.rows]
        right = iter(right_choices(asked, task.label, task.label_is))
    items: dict[str, list[Item]] = {}
    for name, table in tables.items():
        found = items[name] = []
        for number, (where, row) in enumerate(table.rows):
            text = "\n".join(str(_cell(row, column, where)) for column in task.text)
            problem = Problem(id=f"{table.place}-{number}", question=text, answer="", source=table.place)
            if task.choices is None:
                found += _binary(task, row, where, problem)
            else:
                found += _choices(_choice_row(task, row, where).options, next(right), problem, where)
        labels = {x.label for x in found}
        if len(labels) < 2:
            what = "no rows" if not found else f"one class only ({'right' if labels.pop() else 'wrong'})"
            raise UserError(f"{table.place}: {what} in column {task.label!r}; a classifier needs both labels")
    return items


def _binary(task: ClassificationTask, row: Mapping[Any, Any], where: str, problem: Problem) -> list[Item]:
    cell = _cell(row, task.label, where)
    whole = isinstance(cell, float) and cell.is_integer()  # 1.0, which a table with gaps makes of 1
    value = str(int(cell) if whole else cell).strip().lower()
    if value not in YES | NO:
        raise UserError(
            f"{where}: column {task.label!r} holds {value[:40]!r}; binary labels are true/false, 1/0 or yes/no (or set choices)"
        )
    candidate = "" if task.candidate is None else str(_cell(row, task.candidate, where))
    return [Item(problem.id, problem.question, problem, (candidate,), value in YES)]


def _choice_row(task: ClassificationTask, row: Mapping[Any, Any], where: str) -> ChoiceRow:
    columns = task.choices or []
    options = _cell(row, columns[0], where) if len(columns) == 1 else [_cell(row, c, where) for c in columns]
    if not isinstance(options, (list, tuple)) or len(options) < 2:
        raise UserError(f"{where}: choices {columns} must be a column with a list, or at least two columns")
    empty = next((i for i, x in enumerate(options, start=1) if x is None or x != x or not str(x).strip()), None)
    if empty is not None:
        raise UserError(f"{where}: choice {empty} is empty; fill it in, or leave it out of a list of choices")
    label = _cell(row, task.label, where)
    return ChoiceRow(where, label, [str(x) for x in options], columns if len(columns) > 1 else [])


def _choices(options: list[str], right: int, problem: Problem, where: str) -> list[Item]:
    rng = stream("choice", problem.question)
    others = [i for i, option in enumerate(options) if option.strip() != options[right].strip()]
    if not others:
        raise UserError(f"{where}: every choice is {options[right][:40]!r}, so none is wrong; mend or remove the row")
    wrong = int(rng.choice(others))
    return [
        Item(f"{problem.id}/{name}", problem.question, problem, (options[i],), name == "right")
        for name, i in (("right", right), ("wrong", wrong))
    ]


def _cell(row: Mapping[Any, Any], column: str, where: str) -> Any:
    if column not in row:
        raise UserError(f"{where}: no column {column!r}; columns there: {field_names(row)}")
    if row[column] is None or row[column] != row[column]:  # NaN is an empty cell of a table
        raise UserError(f"{where}: column {column!r} is empty; fill it in or remove the row")
    return row[column]


def _set_aside(items: list[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Two parts split by group at random; the second holds about `share` of the groups."""
    groups = list(dict.fromkeys(x.group for x in items))
    order = stream("set aside").permutation(len(groups))
    aside = {groups[i] for i in order[: round(share * len(groups))]}
    return [x for x in items if x.group not in aside], [x for x in items if x.group in aside]
