"""Numbers over seeds, and what many tests of the same seeds cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from legibility.evaluation.over_seeds import Difference, holm, over_seeds, p_above, paired_test


def test_interval_over_seeds_is_student_s():
    found = over_seeds([0.1, 0.2, None, 0.6], 0.95)
    low, high = stats.t.interval(0.95, 2, np.mean([0.1, 0.2, 0.6]), stats.sem([0.1, 0.2, 0.6]))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((0.3, low, high, 3))
    assert over_seeds([0.4], 0.95).low is None and over_seeds([None], 0.95).mean is None


def test_a_number_is_written_with_its_interval_where_that_is_known():
    assert over_seeds([0.5, 0.5], 0.95).text() == "0.500 [0.500, 0.500]"
    assert over_seeds([0.25, None], 0.95).text(2) == "0.25 (no interval)" and over_seeds([None], 0.95).text() == "–"


def test_paired_test_uses_the_seeds_that_have_both():
    first, second = [0.5, 0.7, 0.6, None], [0.4, 0.5, 0.55, 0.9]
    found = paired_test(first, second)
    assert found.n == 3 and found.difference == pytest.approx(0.35 / 3)
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.05], 0).pvalue)
    assert paired_test([1, None], [None, 1]) == Difference(difference=None, p=None, n=0)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=7), st.floats(-0.5, 0.5))
def test_p_is_below_the_level_where_the_interval_is_above_the_bound(values, bound):
    found, p = over_seeds(values, 0.95), p_above(values, bound)
    if abs(found.low - bound) > 1e-6:
        assert (p < 0.05) == (found.low > bound)
    if found.mean < bound - 1e-9:
        assert p == 1.0


def test_p_above_by_hand():
    assert p_above([0.1, 0.2, None, 0.6], 0.0) == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.6], 0).pvalue)
    assert p_above([0.3, 0.3], 0.3) == 1.0 and p_above([0.3, 0.3], 0.2) == 0.0
    assert p_above([0.3, None], 0.0) is None


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.5, none below the one before it."""
    assert holm([0.03, 0.01, None, 0.5, 0.02]) == pytest.approx([0.06, 0.04, None, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_holm_keeps_false_calls_rare():
    """Ten true nulls: at least one p below 0.05 in about 40 % of the trials, one adjusted p in at most 5 %."""
    rng = np.random.default_rng(0)
    raw = adjusted = 0
    for _ in range(1000):
        ps = list(rng.uniform(size=10))
        raw += min(ps) < 0.05
        adjusted += min(holm(ps)) < 0.05
    assert raw > 350 and adjusted < 70
