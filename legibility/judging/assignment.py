"""Who judges what: no rater sees a problem twice, labels are balanced for each, orders are random.

Greedy: a rater's next item has the label the rater has fewer of, comes from the cell (condition and
label) the rater has seen least, and is the item judged least so far; ties are broken at random. The
paper balanced correct and incorrect per checkpoint and rater; sneaky conditions have no correct
items, so here correct items of the other conditions are judged a little more often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.judging.study_schema import ATTENTION, KeyEntry

MAX_DEFAULT = 60  # items per rater unless asked otherwise: 45 minutes at the most


def assign(
    entries: Sequence[KeyEntry], raters: int, per_rater: int | None, rng: np.random.Generator
) -> list[list[str]]:
    """Item ids of every slot, in the order shown; every slot also gets all attention checks.

    per_rater: study items per slot (default: as many as there are different problems, at most 60).
    Raises UserError for no raters, an impossible per_rater, or items of one label only.
    """
    if raters < 1:
        raise UserError(f"--raters {raters}: at least one rater is needed")
    study = [e for e in entries if e.kind != ATTENTION]
    checks = [e.item_id for e in entries if e.kind == ATTENTION]
    for correct, word in ((True, "correct"), (False, "incorrect")):
        if not any(e.correct is correct for e in study):
            raise UserError(
                f"--conditions: no {word} solution among them (sneaky conditions have incorrect ones only), and a rater's "
                "list is half and half; add a condition such as a helpful one"
            )
    problems = len({e.problem_id for e in study})
    if per_rater is not None and (per_rater < 2 or per_rater > problems or per_rater % 2):
        raise UserError(
            f"--per-rater {per_rater}: give an even number from 2 to {problems}, the number of different problems"
        )
    count = per_rater or min(MAX_DEFAULT, problems - problems % 2)
    judged: Counter[str] = Counter()
    slots = []
    for _ in range(raters):
        chosen = _slot(study, count, judged, rng)
        judged.update(chosen)
        order = [chosen[i] for i in rng.permutation(len(chosen))]
        for check in rng.permutation(checks).tolist():
            order.insert(int(rng.integers(min(2, len(order)), len(order) + 1)), check)  # never among the first two
        slots.append(order)
    return slots


def _slot(study: Sequence[KeyEntry], count: int, judged: Counter[str], rng: np.random.Generator) -> list[str]:
    """Up to `count` items of different problems, as many correct as incorrect."""
    seen_problems: set[str] = set()
    seen_cells: Counter[tuple[Condition, bool]] = Counter()
    chosen: dict[bool, list[str]] = {True: [], False: []}
    shuffled = [study[i] for i in rng.permutation(len(study))]
    while len(chosen[True]) + len(chosen[False]) < count:
        label = len(chosen[True]) < len(chosen[False]) or (
            len(chosen[True]) == len(chosen[False]) and bool(rng.integers(2))
        )
        free = [e for e in shuffled if e.correct == label and e.problem_id not in seen_problems]
        if not free:
            break
        best = min(free, key=lambda e: (seen_cells[_cell(e)], judged[e.item_id]))
        chosen[label].append(best.item_id)
        seen_cells[_cell(best)] += 1
        seen_problems.add(best.problem_id)
    pairs = min(len(chosen[True]), len(chosen[False]))
    return chosen[True][:pairs] + chosen[False][:pairs]


def _cell(entry: KeyEntry) -> tuple[Condition, bool]:
    return entry.condition, entry.correct
