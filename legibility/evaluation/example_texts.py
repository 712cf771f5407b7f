"""Which texts stand as examples of a round: a helpful correct and a sneaky incorrect solution of the same test problem.

Chosen by a fixed rule, never by hand: first pairs of a sneaky text that writes its wrong step out and
a helpful text without a wrong step, then those whose sneaky text the round's own verifier puts furthest
above the helpful one. (Raw scores of different problems are not compared: a pairwise loss leaves every
problem its own zero.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from legibility.evaluation.sections.subtlety import StepGrader


class ExampleRows(NamedTuple):
    """A test problem's id and a stored completion of each role, None where there is none of that kind."""

    problem_id: str
    helpful: Any | None
    sneaky: Any | None


def choose_examples(helpful: pd.DataFrame, sneaky: pd.DataFrame, grader: StepGrader, count: int) -> list[ExampleRows]:
    """Up to `count` examples of one round's test text; problems that have both kinds come first."""
    right, wrong = helpful[helpful.verdict == "correct"], sneaky[sneaky.verdict == "incorrect"]
    best_right = _best(right, {i: not grader.shows_mistake(r.problem_id, r.text) for i, r in _rows(right)})
    best_wrong = _best(wrong, {i: grader.shows_mistake(r.problem_id, r.text) for i, r in _rows(wrong)})

    def order(problem_id: str) -> tuple[bool, int, float, str]:
        ours, theirs = best_right.get(problem_id), best_wrong.get(problem_id)
        both = ours is not None and theirs is not None
        hidden = theirs is None or not grader.shows_mistake(problem_id, theirs.text)
        lucky = ours is None or grader.shows_mistake(problem_id, ours.text)
        return not both, hidden + lucky, _score(ours) - _score(theirs) if both else 0.0, problem_id

    chosen = sorted({*best_right, *best_wrong}, key=order)[:count]
    return [ExampleRows(p, best_right.get(p), best_wrong.get(p)) for p in chosen]


def _best(frame: pd.DataFrame, preferred: Mapping[int, bool]) -> dict[str, Any]:
    """Problem id -> its preferred and then highest-scored row."""
    best: dict[str, tuple[tuple[bool, float, int], Any]] = {}
    for i, row in _rows(frame):
        key = (bool(preferred.get(i)), _score(row), -row.sample)
        if row.problem_id not in best or key > best[row.problem_id][0]:
            best[row.problem_id] = (key, row)
    return {problem_id: row for problem_id, (_, row) in best.items()}


def _rows(frame: pd.DataFrame) -> Iterator[tuple[int, Any]]:
    """Every row as a named tuple, with its place."""
    return enumerate(frame.itertuples(index=False))


def _score(row: Any) -> float:
    """A row's score; 0 where none was asked for, so that rows can be ordered."""
    return 0.0 if row.score is None or np.isnan(row.score) else float(row.score)
