"""Intervals of judgments that share raters and problems, against textbook ones."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.judging.clustered_bootstrap import clustered_intervals, share_interval


def test_intervals_of_independent_judgments_are_the_textbook_ones():
    """One judgment per rater and per problem: no clustering, so the usual standard error (times t/z)."""
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.7).astype(float)
    sums = np.stack([y, np.ones(400)], 1)
    found = clustered_intervals(
        sums,
        np.arange(400),
        np.arange(400),
        lambda s: s[:, :1] / s[:, 1:],
        resamples=4000,
        confidence_level=0.95,
        rng=rng,
    )
    error = np.sqrt(y.mean() * (1 - y.mean()) / 400)
    assert found.value[0] == y.mean()
    assert (found.high - found.low)[0] == pytest.approx(2 * 1.966 * error, rel=0.05)


def test_intervals_widen_with_raters_and_problems():
    """All judgments of a rater alike: the number of raters is what counts."""
    rng = np.random.default_rng(0)
    per_rater = (rng.random(20) < 0.6).astype(float)
    y, raters = np.repeat(per_rater, 30), np.repeat(np.arange(20), 30)
    problems = np.tile(np.arange(30), 20)
    sums = np.stack([y, np.ones(600)], 1)
    found = clustered_intervals(
        sums, raters, problems, lambda s: s[:, :1] / s[:, 1:], resamples=2000, confidence_level=0.95, rng=rng
    )
    error = per_rater.std(ddof=1) / np.sqrt(20)
    assert (found.high - found.low)[0] == pytest.approx(2 * 2.09 * error, rel=0.1)
    low, high = share_interval(1.0, 20, 0.95)
    assert high == 1 and low == pytest.approx(1 / (1 + 1.96**2 / 20), abs=1e-3)  # Wilson at 20 of 20
