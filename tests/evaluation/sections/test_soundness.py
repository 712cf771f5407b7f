"""Calibration and the worst case, of judges whose errors are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.evaluation.sections.soundness import calibration_error, g_mean_squared, platt, reliability, worst_case
from tests.evaluation.helpers import resamples


def test_calibration_of_a_judge_that_says_what_it_knows():
    rng = np.random.default_rng(8)
    truth = rng.uniform(0.05, 0.95, 8000)
    correct = rng.random(8000) < truth
    problems = [str(i // 4) for i in range(8000)]
    found = resamples(problems, 50)
    assert calibration_error(truth, correct, problems, found).value < 0.03
    assert calibration_error(np.full(8000, 0.9), correct, problems, found).value == pytest.approx(0.4, abs=0.02)
    slope, offset = platt(np.log(truth / (1 - truth)) / 3 + 1, correct)  # the scale is undone
    assert slope == pytest.approx(3, rel=0.1) and offset == pytest.approx(-3, rel=0.1)
    curve = reliability(truth, correct)
    assert sum(c.n for c in curve) == 8000
    assert all(abs(c.predicted - c.observed) < 0.06 for c in curve)


def test_platt_on_separable_and_constant_scores():
    assert all(np.isfinite(platt(np.array([0.0, 1.0]), np.array([False, True]))))
    _, offset = platt(np.zeros(10), np.arange(10) < 3)
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("accepts_right", "accepts_wrong", "expected"),
    [(20, 0, 1.0), (20, 20, 0.0), (0, 0, 0.0), (10, 10, 0.25), (15, 5, 0.5625)],
    ids=["no mistakes", "everything", "nothing", "a coin", "three of four"],
)
def test_g_mean_squared_of_planted_judges(accepts_right, accepts_wrong, expected):
    problems = [str(i) for i in range(40)]
    right = np.arange(40) < 20
    accepted = np.r_[np.arange(20) < accepts_right, np.arange(20) < accepts_wrong]
    found = resamples(problems, 200)
    recall, fpr = (found.ratio(problems, accepted & part, part) for part in (right, ~right))
    measured = g_mean_squared(recall, fpr).interval()
    assert measured.value == pytest.approx(expected)
    if 0 < expected < 1:
        assert measured.low < expected < measured.high


def test_worst_case_by_hand():
    frame = pd.DataFrame({"problem_id": ["a", "a", "b", "b", "c"]})
    found = worst_case(frame, np.array([True, False, False, False, True]), resamples(["a", "b", "c"], 20))
    assert found.value == pytest.approx(2 / 3) and found.attempts == pytest.approx(5 / 3) and found.problems == 3
