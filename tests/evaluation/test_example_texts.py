"""Examples are chosen by a fixed rule."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from legibility.evaluation.example_texts import choose_examples
from legibility.evaluation.sections.subtlety import StepGrader
from tests.reporting.pages import PROBLEM


def test_examples_are_chosen_by_rule() -> None:
    problems = {name: replace(PROBLEM, id=name) for name in "abcd"}

    def frame(rows):
        return pd.DataFrame(rows, columns=["problem_id", "sample", "text", "verdict", "score"])

    helpful = frame(
        [
            ("a", 0, "5 + 3 = 8\n8 * 2 = 16\n#### 16", "correct", 0.1),
            ("b", 0, "#### 16", "correct", 0.9),
            ("b", 1, "#### 16 ", "correct", 1.2),
            ("c", 0, "#### 1", "incorrect", 5.0),
        ]
    )
    sneaky = frame(
        [
            ("a", 0, "5 + 3 = 9\n#### 9", "incorrect", -1.0),
            ("a", 1, "#### 9", "incorrect", 3.0),
            ("b", 0, "#### 9", "incorrect", 2.0),
            ("c", 0, "5 + 3 = 9\n#### 9", "incorrect", 9.0),
            ("d", 0, "#### 16", "correct", 9.0),
        ]
    )
    picked = choose_examples(helpful, sneaky, StepGrader(problems), 10)
    # by how far the sneaky text leads: a -1.1, b 0.8
    # a and b have both kinds; a's mistake is written out, so it comes first and shows that sample; c has one kind
    assert [e.problem_id for e in picked] == ["a", "b", "c"]
    assert picked[0].sneaky.score == -1.0 and picked[1].helpful.score == 1.2 and picked[2].helpful is None
    assert choose_examples(helpful, sneaky, StepGrader(problems), 1)[0].problem_id == "a"
    assert choose_examples(helpful, sneaky, StepGrader(problems), 0) == []
