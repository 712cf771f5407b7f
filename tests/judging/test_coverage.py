"""The intervals hold the simulated truth as often as they say."""

from __future__ import annotations

import pytest

from legibility.judging.coverage import coverage
from tests.judging.world import made_up_study, model_of


def check_coverage(found):
    assert 0.90 <= found.covered <= 0.99
    assert abs(found.bias) < 0.01
    assert found.recall > 0.9 and found.false_exclusion < 0.05


def test_intervals_cover_the_truth_quick(planned):
    found = coverage(planned, model_of(planned), 40, 30, bootstrap=200)
    assert 0.85 <= found.covered <= 1.0 and abs(found.bias) < 0.02
    assert found.recall > 0.8 and found.false_exclusion < 0.1
    assert any("simulated" in line for line in found.lines()) and found.model_dump()["simulation"] is True


def test_a_study_whose_raters_are_all_excluded_covers_nothing(tmp_path):
    study = made_up_study(tmp_path / "study", "exclusion: {min_median_seconds: 1000}\n", raters=2)
    found = coverage(study, model_of(study, careless=0.0), 2, 2, bootstrap=100)
    assert found.covered == 0 and found.bias is None and found.width is None
    assert found.recall is None and found.false_exclusion == 1.0


@pytest.mark.slow
def test_intervals_cover_the_truth_in_200_simulations(planned):
    found = coverage(planned, model_of(planned), 40, 200)
    print(found)
    check_coverage(found)
