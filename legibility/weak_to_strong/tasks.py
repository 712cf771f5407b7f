"""What is classified: where items come from and how they fall into halves.

Test and validation items are the same for every seed, so that seeds can be compared item by item; the
rest is split by problem into half A (weak), half B (student) and a small trusted set, anew per seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from legibility.errors import UserError
from legibility.problems import load_problems
from legibility.problems.corruption import corrupt
from legibility.problems.records import Problem
from legibility.randomness import stream
from legibility.weak_to_strong.classification import classification_rows
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.experiment_texts import Texts
from legibility.weak_to_strong.items import Item, Parts, balanced, check_parts
from legibility.weak_to_strong.task_settings import ClassificationTask, PartSizes, PreferencesTask, TextTask, TwinsTask

TRAINING = ("weak", "student", "trusted")
TaskItems = dict[str, list[Item]]
"""Every item of a task: "train" (or "weak" and "student"), "validation" and "test"."""


def load_items(config: ExperimentSettings, texts: Texts | None, base_dir: Path | None) -> TaskItems:
    """Every item of the task, before halves and balance. Raises UserError for data that cannot serve."""
    task = config.task
    if isinstance(task, ClassificationTask):
        return classification_rows(task, base_dir)
    if isinstance(task, TwinsTask):
        return _twins(task, base_dir)
    assert texts is not None
    make = _pairs if isinstance(task, PreferencesTask) else _solutions
    frame = texts.classified(task)
    splits = {"train": "verifier", "validation": "validation", "test": "test"}
    return {name: make(frame[frame.split == split], texts.problems) for name, split in splits.items()}


def parts_for(config: ExperimentSettings, available: TaskItems, seed: int) -> Parts:
    """The parts of one seed, each balanced. Raises UserError where a part is empty, has one class, or overlaps another."""
    sizes, task = config.parts, config.task
    within = isinstance(task, TextTask) and task.balance == "within_source"
    if "student" in available:
        names: tuple[str, ...] = ("weak", "trusted")
        halves = {**_halves(available["weak"], names, sizes, seed), "student": available["student"]}
    else:
        halves = _halves(available["train"], TRAINING, sizes, seed)

    def take(name: str, items: Sequence[Item], seed_of: int | str) -> list[Item]:
        return balanced(items, getattr(sizes, name), stream(seed_of, "balance", name), within_source=within)

    chosen = {name: take(name, halves[name], seed) for name in TRAINING}
    held_out = {name: take(name, available[name], "test items") for name in ("validation", "test")}
    return check_parts(Parts(**chosen, **held_out), f"task {task.kind}, seed {seed}")


def _halves(items: Sequence[Item], names: Sequence[str], sizes: PartSizes, seed: int) -> dict[str, list[Item]]:
    """Groups dealt out at random in proportion to the parts' sizes."""
    groups = list(dict.fromkeys(x.group for x in items))
    order = stream(seed, "halves").permutation(len(groups))
    wanted = np.array([getattr(sizes, n) for n in names], dtype=float)
    ends = np.round(np.cumsum(wanted / wanted.sum()) * len(groups)).astype(int)
    part = {groups[i]: names[int(np.searchsorted(ends, k, side="right"))] for k, i in enumerate(order)}
    return {n: [x for x in items if part[x.group] == n] for n in names}


def _solutions(frame: pd.DataFrame, problems: dict[str, Problem]) -> list[Item]:
    """One item per distinct completion of a problem."""
    return [
        Item(
            f"{r.problem_id}/{r.source}/{r.step}/{r.sample}",
            r.problem_id,
            problems[r.problem_id],
            (r.text,),
            r.verdict == "correct",
            r.source,
        )
        for r in frame.drop_duplicates(["problem_id", "text"]).itertuples()
    ]


def _pairs(frame: pd.DataFrame, problems: dict[str, Problem]) -> list[Item]:
    """Pairs of one right and one wrong solution of a problem and source, in random order; right: the first is better."""
    rng, items = stream("pairs"), []
    for (problem_id, source), group in frame.drop_duplicates(["problem_id", "text"]).groupby(
        ["problem_id", "source"], sort=True
    ):
        right = group[group.verdict == "correct"].text.tolist()
        wrong = group[group.verdict == "incorrect"].text.tolist()
        for k, (a, b) in enumerate(zip(right, wrong, strict=False)):
            first = bool(rng.integers(2))
            items.append(
                Item(
                    f"{problem_id}/{source}/{k}",
                    problem_id,
                    problems[problem_id],
                    (a, b) if first else (b, a),
                    first,
                    source,
                )
            )
    return items


def _twins(task: TwinsTask, base_dir: Path | None) -> TaskItems:
    """Reference solutions (right) and their corrupted twins (wrong), apart or as pairs."""
    splits = load_problems(task.problems, base_dir=base_dir)
    parts: dict[str, Callable[[], list[Problem]]] = {
        "train": lambda: splits.verifier,
        "validation": lambda: splits.validation,
        "test": lambda: splits.test,
    }
    found: TaskItems = {}
    for name, problems in parts.items():
        found[name] = []
        for problem in problems():
            twin = corrupt(problem, stream("twin", problem.id)) if problem.solution else None
            if twin is not None and task.pairs:
                first = bool(stream("twin order", problem.id).integers(2))
                texts = (problem.solution, twin.text) if first else (twin.text, problem.solution)
                found[name].append(Item(f"{problem.id}/pair", problem.id, problem, texts, first, "reference"))
            elif twin is not None:
                found[name] += [
                    Item(f"{problem.id}/reference", problem.id, problem, (problem.solution,), True, "reference"),
                    Item(f"{problem.id}/twin", problem.id, problem, (twin.text,), False, "reference"),
                ]
    if not found["train"]:
        raise UserError("task.problems: no problem has a worked solution that a mistake can be carried through")
    return found
