"""Intervals of one set of test items: planted tables of right answers."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.randomness import stream
from legibility.weak_to_strong.estimates import STREAM, Estimator
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.pgr import crossed_bootstrap, pgr_estimate

ESTIMATOR = Estimator([f"p{k}" for k in range(100)], resamples=200, confidence_level=0.9)


def table(right: int, of: int = 100) -> np.ndarray:
    """One seed that has the first `right` items right."""
    return (np.arange(of) < right)[None]


def test_accuracy_is_the_mean_and_its_interval_holds_it():
    found = ESTIMATOR.accuracy(table(70))
    assert found.value == pytest.approx(0.7) and found.low < 0.7 < found.high
    assert ESTIMATOR.accuracy(table(100)).low is None  # all resamples agree: nothing says how sure it is


def test_a_few_problems_have_no_interval():
    few = Estimator([f"p{i}" for i in range(9)], 200, 0.9).accuracy(table(5, of=9))
    assert few.value == pytest.approx(5 / 9) and few.low is None and few.high is None


def test_differences_are_paired():
    found = ESTIMATOR.difference(table(70), table(70))
    assert (found.value, found.low) == (0, None)  # the same items right: no spread
    assert ESTIMATOR.difference(table(80), table(70)).value == pytest.approx(0.1)


def test_pgr_of_planted_accuracies():
    found = ESTIMATOR.pgr(table(50), table(60), table(90))
    assert found.value == pytest.approx(0.25) and found.undefined is None
    assert ESTIMATOR.pgr(table(50), table(60), table(50)).undefined


def test_every_estimate_draws_the_same_resamples():
    """Those of the stream's name, anew each time: intervals do not depend on what was asked before."""
    options = {"resamples": 200, "confidence_level": 0.9}
    again = [ESTIMATOR.accuracy(table(70)) for _ in range(2)]
    expected, _ = crossed_bootstrap({"x": table(70)}, ESTIMATOR.groups, lambda m: m["x"], **options, rng=stream(STREAM))
    assert again == [expected, expected]
    tables = table(50), table(60), table(90)
    assert ESTIMATOR.pgr(*tables) == pgr_estimate(*tables, ESTIMATOR.groups, **options, rng=stream(STREAM))


def test_an_experiments_estimator_has_its_resamples_and_level():
    settings = ExperimentSettings(
        models={"a": {"model": "nano-xs"}}, grid=[{"weak": ["a"], "strong": ["a"]}], bootstrap=50, confidence_level=0.8
    )
    assert Estimator.of(settings, ["p"]) == Estimator(["p"], 50, 0.8)
