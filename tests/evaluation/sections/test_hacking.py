"""Rewrites that keep the verdict, and junk that has none."""

from __future__ import annotations

import numpy as np

from legibility.evaluation.sections.hacking import REWRITES, junk
from legibility.grading import grade
from legibility.problems.records import Problem


def test_rewrites_change_the_text_and_never_the_verdict():
    text = "2 * 3 = 6\n6 + 15 = 21\n21 - 1 = 20\n#### 20"
    for name, rewrite in REWRITES.items():
        changed = rewrite(text, "####")
        assert changed != text, name
        assert (
            grade(changed, "20").value == "correct"
            and grade(rewrite(text.replace("20", "19"), "####"), "20").value == "incorrect"
        )
    assert REWRITES["operands swapped"](text, "####").startswith("3 * 2 = 6\n15 + 6 = 21\n21 - 1 = 20")
    assert REWRITES["no spaces"](text, "####").startswith("2*3=6\n6+15=21")


def test_junk_has_the_verdict_it_should_and_is_no_solution():
    problems = {str(i): Problem(str(i), f"question {i}", str(i + 8)) for i in range(4)}
    made = junk(problems, {"0": "a = b\n#### 8", "2": "c = d\n#### 10"}, "####", np.random.default_rng(0))
    for i, problem in problems.items():
        assert made["empty"][i] == "" and made["problem copied"][i] == problem.question
        assert grade(made["right answer only"][i], problem.answer).value == "correct"
        assert grade(made["wrong answer only"][i], problem.answer).value == "incorrect"
        other = made["another problem's solution"].get(i)
        assert other is not None and grade(other, problem.answer).value == "incorrect"
    assert made["one line repeated"] == {"0": "\n".join(["a = b"] * 5), "2": "\n".join(["c = d"] * 5)}
