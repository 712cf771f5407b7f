"""Formulas to worked solutions: cases by hand, in the forms that ASDiv and SVAMP use (none of their text)."""

from __future__ import annotations

import time

import numpy as np
import pytest

from legibility.grading import check_steps, grade
from legibility.problems.corruption import corrupt
from legibility.problems.formulas import solution_of, solution_of_expression
from legibility.problems.records import Problem


@pytest.mark.parametrize(
    ("formula", "answer", "solution"),
    [
        ("7+2=9", "9 (apples)", "7 + 2 = 9\n#### 9"),
        ("12-3*2=6", "6", "12 - 3 * 2 = 6\n#### 6"),
        ("(7+2)*3=27", "27 (red pens)", "(7 + 2) * 3 = 27\n#### 27"),
        ("6*1.5=9", "9 (dollars)", "6 * 1.5 = 9\n#### 9"),
        ("10.20+2.80=13", "13 (dollars)", "10.20 + 2.80 = 13\n#### 13"),
        ("43+19=62; 62-60=2", "2 (dollars)", "43 + 19 = 62\n62 - 60 = 2\n#### 2"),
        ("3 (hour)*60 (min/hour) = 180 (min)", "180 (minutes)", "3 * 60 = 180\n#### 180"),
        ("99+99=198 cents", "198 (cents)", "99 + 99 = 198\n#### 198"),
        ("360/4=90 r0", "90 (boxes)", "360 / 4 = 90\n#### 90"),
    ],
)
def test_a_formula_becomes_lines(formula, answer, solution):
    text, gold = solution_of(formula, answer)
    assert text == solution and gold == answer.split()[0]
    assert all(step.valid for step in check_steps(text)) and grade(text, gold).value == "correct"


@pytest.mark.parametrize(
    ("formula", "answer"),
    [
        ("7+2=10", "10 (apples)"),  # does not hold
        ("7+2=9", "8 (apples)"),  # is not the answer
        ("47/6=7 r5", "5 (cookies)"),
        ("2*10=20 cents > 1*3=3 cents", "Yes"),
        ("20 (Ann) > 3 (Bob)", "Ann"),
        ("x+3=5; x=2", "2"),
        ("LCM[12,6]=12", "12 (days)"),
        ("3:4=6:8", "8 (cups)"),
        ("9=9", "9"),  # nothing is worked out
        ("17, 21, 25", "25 (cups)"),
        ("2*3=6; 6+1", "7"),
        ("5/0=0", "0"),
        ("", ""),
        ("8+1=9", "9; 8 (cats; dogs)"),
    ],
)
def test_what_is_not_understood_is_left_out(formula, answer):
    assert solution_of(formula, answer) is None


@pytest.mark.parametrize(
    ("expression", "value", "solution"),
    [
        ("( 290.0 / 2.0 )", 145.0, "290 / 2 = 145\n#### 145"),
        ("( ( 8.0 - 3.0 ) + 2.0 )", 7.0, "(8 - 3) + 2 = 7\n#### 7"),
        ("( ( 8.0 - 3.0 ) * ( 4.0 - 2.0 ) )", 10.0, "(8 - 3) * (4 - 2) = 10\n#### 10"),
        ("( 5.0 / 2.0 )", 2.5, "5 / 2 = 2.5\n#### 2.5"),
        ("( 1000000.0 + 234567.0 )", 1234567.0, "1000000 + 234567 = 1234567\n#### 1234567"),
        ("( ( 4.0 - 2.0 ) + 3.0 )", 1.0, None),
        ("8.0", 8.0, None),
    ],
)
def test_an_expression_gets_its_result(expression, value, solution):
    found = solution_of_expression(expression, value)
    assert (found and found[0]) == solution


def test_worked_formulas_can_be_corrupted():
    """What a sneaky warm start needs."""
    text, gold = solution_of("43+19=62; 62-50=12", "12")
    twin = corrupt(Problem("p", "Of 43 and 19 pens 50 go.", gold, solution=text), np.random.default_rng(0))
    assert twin is not None and grade(twin.text, gold).value == "incorrect" and twin.text.count("\n") == 2


@pytest.mark.parametrize("unit", ["(", "(a", " ", "1", "1 ", "1+", "a", "1a", "=", ";"])
def test_long_text_is_no_formula(unit):
    for formula, answer in ((unit * 100_000, "9"), ("1+1=2", unit * 100_000), ("1" + unit * 900 + "x", "9")):
        began = time.process_time()
        assert solution_of(formula, answer) is None
        assert time.process_time() - began < 1
