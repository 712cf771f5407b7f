"""Attention checks: half of them right, the others wrong by a lot."""

from __future__ import annotations

import re

import numpy as np

from legibility.judging.checks import attention_checks


def test_half_are_right_and_the_others_wrong_by_a_lot():
    checks = attention_checks(20, "####", np.random.default_rng(0))
    assert [check.correct for check in checks] == [True, False] * 10
    assert len({check.problem.split(" ")[0] for check in checks}) == 20  # no name twice
    for check in checks:
        have, more = map(int, re.findall(r"[0-9]+", check.problem))
        step, last = check.solution.split("\n")
        answer = int(last.removeprefix("#### "))
        assert step == f"{have} + {more} = {answer}"
        assert answer == have + more if check.correct else answer > 10 * (have + more)


def test_no_checks_are_none():
    assert attention_checks(0, "####", np.random.default_rng(0)) == []
