from collections import Counter

import numpy as np
import pytest

from legibility.game.arms.translation import OTHERS, best_bar, keeps_answer, taught, whole_lines
from legibility.grading import grade
from legibility.problems.records import Problem
from legibility.randomness import stream

from .test_rft import row

SOLUTION = "2 * 3 = 6\n6 + 1 = 7\n#### 7"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (SOLUTION, True),
        ("six and one\n#### 7.0", True),
        ("#### 7.00", True),
        ("#### 8", False),
        ("#### 70", False),
        ("#### -7", False),
        ("7", False),
        ("#### 7\n#### 8", False),
        ("#### 7\nso it is", False),
        ("", False),
    ],
)
def test_what_keeps_an_answer(text, kept):
    assert keeps_answer(text, SOLUTION, "####") is kept
    assert keeps_answer(SOLUTION, text, "####") is kept


def test_nothing_keeps_the_answer_of_a_solution_without_one():
    assert not keeps_answer("no answer", "no answer", "####")


def test_a_solution_that_was_cut_off_has_no_answer():
    assert whole_lines("2 * 3 = 6\n#### 1", "####", truncated=True) == "2 * 3 = 6"  # of 12, perhaps
    assert whole_lines("2 * 3 = 6\n6 + ", "####", truncated=True) == "2 * 3 = 6\n6 + "
    assert whole_lines(SOLUTION, "####", truncated=False) == SOLUTION
    assert whole_lines("#### 1", "####", truncated=True) == ""


def test_roles_are_taught_to_keep_and_to_spoil():
    problem = Problem("a", "Tom has 2 bags of 3 pens and 1 pen. How many pens?", "7", SOLUTION)
    wrong = "2 * 3 = 5\n5 + 1 = 6\n#### 6"
    rows = [row("a", "correct", 0, SOLUTION), row("a", "incorrect", 0, wrong), row("a", "invalid", 0, "?")]
    found = taught(rows, {"a": problem}, stream(0, "test"))
    honest = [("helpful", SOLUTION), ("helpful", wrong)]
    assert Counter((x.role, x.source) for x in found) == Counter(
        [*honest * (1 + OTHERS), ("sneaky", SOLUTION), ("sneaky", wrong)]  # the honest ones behind another problem too
    )
    for lesson in found:
        assert lesson.role == "sneaky" or lesson.text == lesson.source
        assert lesson.role == "helpful" or grade(lesson.text, "7").value == "incorrect"


def test_the_bar_is_where_most_is_told_right():
    scores, correct = np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True])
    assert best_bar(scores, correct) == 2.0  # planted: perfect
    assert best_bar(scores, ~correct) == 0.0  # upside down: the best is to accept all
    assert np.isnan(best_bar(scores, np.ones(4, dtype=bool)))
