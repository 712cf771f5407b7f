"""Assisted checking: raters see where a verifier doubts, in half of what they judge.

The paper's raters judge alone; whether a verifier's doubt helps them is a question of its own. Half of every rater's
items are shown shaded, and every item is shown so to half of its raters, so that raters, problems and conditions are
the same on both sides. What is shaded is relative to the text's most doubted token: a score is never told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from legibility.evaluation.doubts import doubted
from legibility.game.condition import Condition, Judge
from legibility.judging.study_schema import Assisted, DoubtMark, ItemDoubts, KeyEntry, StudyItem
from legibility.models.verifier import Explanation
from legibility.problems.records import Problem

LEVELS = 3
Cell = tuple[Condition, bool]


@dataclass(frozen=True)
class Adviser:
    """A verifier that takes its scores apart: which one, and how."""

    judge: Judge
    explain: Callable[[Problem, str], Explanation]

    def doubts(self, items: Sequence[StudyItem]) -> list[ItemDoubts]:
        """What of every item to shade, in the order of the items. The gold answers are not needed."""
        return [
            ItemDoubts(item_id=i.item_id, marks=marks_of(self.explain(Problem(i.item_id, i.problem, "0"), i.solution)))
            for i in items
        ]


def marks_of(explained: Explanation) -> list[DoubtMark]:
    """The doubted tokens of a text that have characters in it, neighbours of one level put together."""
    marks: list[DoubtMark] = []
    for span in doubted(explained.tokens):
        level = min(LEVELS, math.ceil(LEVELS * span.strength))
        if span.end <= span.start:
            continue
        if marks and marks[-1].end == span.start and marks[-1].level == level:
            marks[-1] = marks[-1].model_copy(update={"end": span.end})
        else:
            marks.append(DoubtMark(start=span.start, end=span.end, level=level))
    return marks


def assign_assisted(
    entries: Sequence[KeyEntry], slots: Sequence[Sequence[str]], design: Assisted, rng: np.random.Generator
) -> list[list[str]]:
    """Item ids that each slot is shown with doubts, in the slot's order.

    design: `item` shades half of every rater's correct items, of the incorrect ones and of the attention checks,
    those first that were shaded least for others, then those of the condition that this rater, then that all raters
    have shaded least. `rater` shades everything for one of every two slots that follow each other, so that both kinds come however many come.
    """
    if design == "rater":
        first = rng.integers(2, size=(len(slots) + 1) // 2)
        return [list(slot) if number % 2 == first[number // 2] else [] for number, slot in enumerate(slots)]
    known = {e.item_id: e for e in entries}
    lead: Counter[str | Cell] = Counter()  # how often an item, or one of a cell, was shaded, less how often it was not
    chosen = []
    for number, slot in enumerate(slots):
        shaded: set[str] = set()
        groups: dict[tuple[str, bool], list[str]] = {}
        for i in rng.permutation(len(slot)):
            entry = known[slot[i]]
            groups.setdefault((entry.kind, entry.correct), []).append(entry.item_id)
        for order, group in enumerate(sorted(groups)):
            shaded |= _half(groups[group], known, lead, extra=(number + order) % 2)
        for i in slot:
            for counted in (i, _cell(known[i])):
                lead[counted] += 1 if i in shaded else -1
        chosen.append([i for i in slot if i in shaded])
    return chosen


def _half(items: Sequence[str], known: dict[str, KeyEntry], lead: Counter[str | Cell], *, extra: int) -> set[str]:
    """Half of a rater's items of one label; of an odd number, one more where `extra` is 1."""
    of_condition: Counter[Condition] = Counter()
    left, taken = list(items), set[str]()
    while len(taken) < (len(items) + extra) // 2:
        best = min(left, key=lambda i: (lead[i], of_condition[known[i].condition], lead[_cell(known[i])]))
        left.remove(best)
        taken.add(best)
        of_condition[known[best].condition] += 1
    return taken


def _cell(entry: KeyEntry) -> Cell:
    return entry.condition, entry.correct
