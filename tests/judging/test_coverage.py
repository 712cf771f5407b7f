"""The intervals hold the simulated truth as often as they say."""

from __future__ import annotations

import pytest

from legibility.judging.coverage import coverage
from tests.judging.world import model_of


def check_coverage(found):
    assert 0.90 <= found.covered <= 0.99
    assert abs(found.bias) < 0.01
    assert found.recall > 0.9 and found.false_exclusion < 0.05


def test_intervals_cover_the_truth_quick(planned):
    found = coverage(planned, model_of(planned), 40, 30, bootstrap=200)
    assert 0.85 <= found.covered <= 1.0 and abs(found.bias) < 0.02
    assert found.recall > 0.8 and found.false_exclusion < 0.1
    assert any("simulated" in line for line in found.lines()) and found.model_dump()["simulation"] is True


@pytest.mark.slow
def test_intervals_cover_the_truth_in_200_simulations(planned):
    found = coverage(planned, model_of(planned), 40, 200)
    print(found)
    check_coverage(found)
