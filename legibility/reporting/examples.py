"""Side-by-side examples (legibility.evaluation.example_texts chooses them), marked by step and by the verifier's doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from legibility.evaluation.doubts import Doubt
from legibility.evaluation.example_texts import choose_examples
from legibility.evaluation.sections.subtlety import StepGrader
from legibility.problems.records import Problem
from legibility.reporting.marked_solution import Shown, show


@dataclass(frozen=True)
class Example:
    """One test problem and a solution of each role, None where there is none of that kind."""

    problem: Problem
    helpful: Shown | None
    sneaky: Shown | None


def pick_examples(
    helpful: pd.DataFrame,
    sneaky: pd.DataFrame,
    grader: StepGrader,
    count: int,
    doubts: Mapping[tuple[str, str], Doubt] | None = None,
) -> list[Example]:
    """Up to `count` examples of one round's test text. `doubts`: the round's verifier's, by problem id and text."""
    problems, text = grader.problems, pd.concat([helpful, sneaky])
    scores = np.sort(text.score[text.verdict != "invalid"].dropna().to_numpy(dtype=float))

    def shown(row: Any | None) -> Shown | None:
        if row is None:
            return None
        doubt = (doubts or {}).get((row.problem_id, row.text))
        return show(problems[row.problem_id], row.text, row.verdict, row.score, scores, doubt)

    return [
        Example(problems[e.problem_id], shown(e.helpful), shown(e.sneaky))
        for e in choose_examples(helpful, sneaky, grader, count)
    ]
