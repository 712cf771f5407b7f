"""Random numbers keyed by what they are for."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from legibility.randomness import uniforms


def test_keyed_uniforms():
    rows = np.array([0, 1, 7, 10**6])
    numbers = uniforms(5, rows, 50)
    np.testing.assert_array_equal(uniforms(5, rows[2:], 30), numbers[2:, :30])
    assert not np.array_equal(uniforms(6, rows, 50), numbers)
    many = uniforms(0, np.arange(400), 50)
    assert many.min() > 0 and many.max() < 1
    assert kstest(many.ravel(), "uniform").pvalue > 1e-3
    assert np.unique(many).size == many.size
    assert abs(np.corrcoef(many[:-1].ravel(), many[1:].ravel())[0, 1]) < 0.02  # neighbouring rows
    assert abs(np.corrcoef(many[:, :-1].ravel(), many[:, 1:].ravel())[0, 1]) < 0.02  # neighbouring tokens
