"""PGR, agreement and intervals, against hand-computed values and planted teachers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from legibility.weak_to_strong.pgr import agreement, crossed_bootstrap, pgr, pgr_estimate


@pytest.mark.parametrize(
    ("weak", "student", "ceiling", "expected"),
    [
        (0.6, 0.7, 0.8, 0.5),
        (0.6, 0.6, 0.8, 0.0),
        (0.6, 0.8, 0.8, 1.0),
        (0.6, 0.5, 0.8, -0.5),
        (0.566, 0.619, 0.645, 0.6708860759),
    ],
)
def test_pgr_by_hand(weak, student, ceiling, expected):
    assert pgr(weak, student, ceiling) == pytest.approx(expected)


def test_pgr_is_undefined_without_a_gap():
    assert math.isnan(pgr(0.7, 0.8, 0.7)) and math.isnan(pgr(0.7, 0.65, 0.6))


def table(accuracies, items=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.random(items) < a for a in accuracies])


def estimate(weak, student, ceiling, groups=None):
    groups = [str(i) for i in range(weak.shape[1])] if groups is None else groups
    return pgr_estimate(
        weak, student, ceiling, groups, resamples=300, confidence_level=0.95, rng=np.random.default_rng(0)
    )


def test_pgr_estimate_is_the_ratio_of_means_and_its_interval_holds_it():
    weak, student, ceiling = table([0.6] * 3, seed=1), table([0.7] * 3, seed=2), table([0.9] * 3, seed=3)
    found = estimate(weak, student, ceiling)
    assert found.value == pytest.approx((student.mean() - weak.mean()) / (ceiling.mean() - weak.mean()))
    assert found.low < found.value < found.high and found.undefined is None


def test_pgr_estimate_says_why_it_is_undefined():
    weak, ceiling = table([0.7, 0.7], seed=1), table([0.7, 0.7], seed=2)
    found = estimate(weak, table([0.8, 0.8], seed=3), ceiling)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "no gap to recover" in found.undefined


def test_intervals_count_problems_not_items_and_seeds():
    one_each = table([0.7])
    repeated = np.repeat(one_each[:, :40], 10, axis=1)  # 400 items, but 40 problems

    def width(t, groups):
        e, _ = crossed_bootstrap(
            {"x": t}, groups, lambda m: m["x"], resamples=400, confidence_level=0.95, rng=np.random.default_rng(0)
        )
        return e.high - e.low

    assert width(repeated, np.repeat(np.arange(40), 10)) > 2 * width(one_each, range(400))
    apart = np.stack([np.ones(400), np.zeros(400)])  # seeds that disagree about everything
    assert width(apart, range(400)) > 0.9


def test_agreement_by_hand():
    truth = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    supervisor = np.array([1, 1, 0, 0, 0, 1], dtype=bool)  # wrong on items 2 and 5
    student = np.array([1, 0, 0, 0, 0, 0], dtype=bool)
    found = agreement(student, supervisor, truth)
    assert found.all == pytest.approx(4 / 6)
    assert (found.supervisor_right, found.supervisor_wrong) == (0.75, 0.5)
    assert agreement(student, truth, truth).supervisor_wrong is None


def world(n: int, seed: int):
    """Items with a feature that is the truth and one that a weak teacher might follow instead."""
    rng = np.random.default_rng(seed)
    truth, style = rng.random(n) < 0.5, rng.random(n) < 0.5
    x = np.stack([truth + 0.3 * rng.standard_normal(n), style + 0.1 * rng.standard_normal(n)], 1)
    return x, truth, style


def taught(labels_of, error: float):
    """Accuracy of teacher and student on held-out items; the student sees both features."""
    x, truth, style = world(4000, 0)
    labels = labels_of(truth, style, error, np.random.default_rng(5))
    test, test_truth, test_style = world(4000, 1)
    student = LogisticRegression().fit(x, labels)
    told = labels_of(test_truth, test_style, error, np.random.default_rng(6))
    said = student.predict(test)
    ceiling = LogisticRegression().fit(x, truth).score(test, test_truth)
    return pgr((told == test_truth).mean(), (said == test_truth).mean(), ceiling), agreement(said, told, test_truth)


def random_errors(truth, style, error, rng):
    return truth ^ (rng.random(len(truth)) < error)


def systematic_errors(truth, style, error, rng):
    """Wrong wherever the style is 1 and the truth 0 (about a quarter of the items)."""
    return truth | style


@pytest.mark.parametrize("error", [0.1, 0.25, 0.4])
def test_a_student_recovers_from_random_errors(error):
    recovered, agreed = taught(random_errors, error)
    assert recovered > 0.9
    assert agreed.supervisor_wrong < 0.15


def test_a_student_imitates_systematic_errors():
    recovered, agreed = taught(systematic_errors, 0.25)
    assert recovered < 0.05  # no better than its teacher, in fact slightly worse
    assert agreed.supervisor_wrong > 0.9
