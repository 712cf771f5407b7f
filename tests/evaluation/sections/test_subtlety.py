"""Written steps and their flaws, by hand."""

from __future__ import annotations

import pandas as pd

from legibility.evaluation.sections.subtlety import StepGrader, step_table
from legibility.problems.records import Problem, Step


def test_step_table_by_hand():
    problem = Problem("p", "?", "11", steps=(Step(2, "*", 3, 6), Step(6, "+", 5, 11)))
    texts = [
        "2 * 3 = 6\n6 + 5 = 11\n#### 11",
        "2 * 3 = 7\n7 + 5 = 12\n#### 12",
        "2 * 3 = 6\n6 + 4 = 10\n#### 10",
        "#### 9",
        "2 * 3 = 6\n#### 6",
    ]
    table = step_table(pd.DataFrame({"problem_id": "p", "text": texts}), StepGrader({"p": problem}))
    assert list(table.wrong) == [0, 2, 1, 0, 0] and list(table.steps) == [2, 2, 2, 0, 1]
    assert list(table.carried) == [0, 1, 0, 0, 0]
    assert list(table.flaw) == ["unwritten", "slip", "foreign", "no steps", "unwritten"]
    assert list(table.validity.fillna(-1)) == [1, 0, 0.5, -1, 1] and list(table.least.fillna(-1)) == [1, 0, 0, -1, 1]
    assert list(table.place.fillna(-1)) == [-1, 0.5, 1.0, -1, -1] and list(table.holds) == [2, 1, 2, 0, 1]
