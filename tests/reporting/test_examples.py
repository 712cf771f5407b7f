"""Chosen texts as the page shows them."""

from __future__ import annotations

import pandas as pd

from legibility.evaluation.doubts import Doubt, TokenDoubt
from legibility.evaluation.sections.subtlety import StepGrader
from legibility.reporting.examples import pick_examples
from tests.reporting.pages import PROBLEM


def test_an_example_has_its_place_among_scores_and_its_own_doubt() -> None:
    def frame(rows):
        return pd.DataFrame(rows, columns=["problem_id", "sample", "text", "verdict", "score"])

    right, wrong = "5 + 3 = 8\n8 * 2 = 16\n#### 16", "5 + 3 = 9\n#### 9"
    helpful = frame([(PROBLEM.id, 0, right, "correct", 2.0)])
    sneaky = frame([(PROBLEM.id, 0, wrong, "incorrect", 1.0)])
    tokens = [TokenDoubt(start=8, end=9, share=-1.0)]
    doubt = Doubt(round=0, role="sneaky", problem_id=PROBLEM.id, text=wrong, score=1.0, rest=2.0, tokens=tokens)
    (example,) = pick_examples(helpful, sneaky, StepGrader({PROBLEM.id: PROBLEM}), 3, {(PROBLEM.id, wrong): doubt})
    assert (example.helpful.percentile, example.sneaky.percentile) == (0.75, 0.25)
    assert example.helpful.doubt == "" and "“9” in line 1" in example.sneaky.doubt
    (bare,) = pick_examples(helpful, frame([]), StepGrader({PROBLEM.id: PROBLEM}), 3)
    assert bare.sneaky is None and bare.helpful.doubt == ""
