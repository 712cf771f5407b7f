"""Metrics of scores against brute force, and the bootstrap's intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.evaluation import auroc, bootstrap, pairwise_accuracy
from tests.support import beats

labelled = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 3)), max_size=20)


@given(labelled)
def test_auroc_by_brute_force(rows):
    expected = beats((a, b) for a, c, _ in rows for b, d, _ in rows if c and not d)
    got = auroc([r[0] for r in rows], [r[1] for r in rows])
    assert got == pytest.approx(expected, nan_ok=True)


@given(labelled)
def test_pairwise_accuracy_by_brute_force(rows):
    expected = beats((a, b) for a, c, p in rows for b, d, q in rows if c and not d and p == q)
    got = pairwise_accuracy([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
    assert got == pytest.approx(expected, nan_ok=True)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng, hits, trials = np.random.default_rng(0), 0, 200
    for _ in range(trials):
        data = rng.normal(3.0, 1.0, 60)
        interval = bootstrap(lambda i, d=data: d[i].mean(), 60, resamples=200, confidence_level=0.9, rng=rng)
        assert interval["value"] == pytest.approx(data.mean())
        assert interval["low"] < interval["value"] < interval["high"]
        hits += interval["low"] <= 3.0 <= interval["high"]
    assert 0.83 < hits / trials < 0.95


def test_bootstrap_widths():
    data = np.random.default_rng(0).normal(size=400)

    def width(count, confidence_level):
        interval = bootstrap(
            lambda i: data[i].mean(),
            count,
            resamples=500,
            confidence_level=confidence_level,
            rng=np.random.default_rng(1),
        )
        return interval["high"] - interval["low"]

    assert width(400, 0.95) == pytest.approx(2 * 1.96 * data.std() / 20, rel=0.15)
    assert width(400, 0.5) < 0.5 * width(400, 0.95) < 0.5 * width(50, 0.95)


def test_too_few_units_or_resamples_that_agree_make_no_interval():
    for count, values, known in ((9, [0, 1] * 5, False), (10, [0, 1] * 5, True), (50, [1] * 50, False)):
        numbers, rng = np.array(values[:count], dtype=float), np.random.default_rng(0)
        found = bootstrap(lambda i, n=numbers: n[i].mean(), count, resamples=50, confidence_level=0.9, rng=rng)
        assert found["value"] == numbers.mean() and (found["low"] is not None) is known, count


def test_bootstrap_of_what_is_undefined():
    nothing = bootstrap(lambda i: float("nan"), 5, resamples=10, confidence_level=0.9, rng=np.random.default_rng(0))
    assert nothing == {"value": None, "low": None, "high": None}
