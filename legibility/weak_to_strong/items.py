"""The records an experiment is made of: an item to classify, and the parts a task's items fall into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legibility.errors import UserError
from legibility.problems.records import Problem

PARTS = ("weak", "student", "trusted", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One thing to classify: a solution (right or not), or a pair (is the first the better one?).

    `texts` holds one solution or two; `group` is what may not be in two parts (the problem or
    question) and what intervals resample; `source` says whose text it is ("base", "helpful 2", …).
    """

    id: str
    group: str
    problem: Problem
    texts: tuple[str, ...]
    label: bool
    source: str = ""


@dataclass(frozen=True)
class Parts:
    """A task's items for one seed. `weak` is half A, `student` half B; validation and test are the same for all seeds."""

    weak: list[Item]
    student: list[Item]
    trusted: list[Item]
    validation: list[Item]
    test: list[Item]


def labels(items: Sequence[Item]) -> np.ndarray:
    """Ground truth, boolean (n,)."""
    return np.array([x.label for x in items], dtype=bool)


def check_parts(parts: Parts, where: str) -> Parts:
    """Refuse parts that leak or cannot be learned from. Raises UserError.

    No group and no text may be in two parts (teacher and student data overlapping would make the
    teacher's labels ground truth), and every part must hold both classes.
    """
    seen: dict[str, str] = {}
    for name in PARTS:
        items = getattr(parts, name)
        found = labels(items)
        if len(items) == 0 or found.all() or not found.any():
            what = "no items" if len(items) == 0 else f"only {'right' if found.all() else 'wrong'} items (one class)"
            raise UserError(f"{where}: the {name} part has {what}; give more data, or data with both labels")
        for key in {x.group for x in items} | {" ".join(x.problem.question.split()) for x in items}:
            if key in seen and seen[key] != name:
                raise UserError(
                    f"{where}: {_short(key)} is in the {seen[key]} part and in the {name} part; "
                    "teacher, student and test data must not overlap: remove it from one of them"
                )
            seen[key] = name
    return parts


def balanced(items: Sequence[Item], count: int, rng: np.random.Generator, *, within_source: bool = False) -> list[Item]:
    """At most `count` items, half of each label, inside every source if asked; groups are shared out evenly.

    Every group gives one item of a label before any gives a second, so that few problems do not fill a part.
    """
    sources = sorted({x.source for x in items}) if within_source else [None]
    by_source = [[x for x in items if source is None or x.source == source] for source in sources]
    room = [min(sum(x.label for x in p), sum(not x.label for x in p)) for p in by_source]
    pairs = _fair(room, count // 2)
    chosen: list[Item] = []
    for own, n in zip(by_source, pairs, strict=True):
        for label in (True, False):
            chosen += _spread([x for x in own if x.label == label], rng)[:n]
    return sorted(chosen, key=lambda x: x.id)


def _fair(room: Sequence[int], total: int) -> list[int]:
    """Shares of `total`, as equal as `room` allows."""
    shares = [0] * len(room)
    while total > 0 and any(s < r for s, r in zip(shares, room, strict=True)):
        for i in sorted(range(len(room)), key=lambda i: shares[i]):
            if total > 0 and shares[i] < room[i]:
                shares[i] += 1
                total -= 1
    return shares


def _spread(items: Sequence[Item], rng: np.random.Generator) -> list[Item]:
    """In random order, the first item of every group before the second of any."""
    rank: dict[str, int] = {}
    ordered: list[tuple[int, int, Item]] = []
    for i in rng.permutation(len(items)):
        item = items[i]
        rank[item.group] = rank.get(item.group, -1) + 1
        ordered.append((rank[item.group], len(ordered), item))
    return [item for *_, item in sorted(ordered, key=lambda x: x[:2])]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
