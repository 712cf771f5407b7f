"""Steps to exploit as survival data."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.evaluation.attacks.survival import KaplanMeier, kaplan_meier_median, step_cap, survival
from legibility.evaluation.schema import AttackRecord
from legibility.game.run_records import AttackSetup


def test_step_cap_is_of_the_attacks_that_reached_theirs():
    assert step_cap([80, 160, 160], [True, False, True]) == 160
    assert step_cap([80, 160], [False, False]) == 80
    assert step_cap([80, 160], [True, True]) == 160


def test_median_by_hand():
    """The product-limit estimate falls 1, 0.8, 0.6, 0.3 at steps 10, 20, 40: the median is 40; nothing is known of 30."""
    found = kaplan_meier_median([10, 20, 30, 40, 50], [True, True, False, True, False])
    assert found.median == 40 and found.n == 5 and found.censored == pytest.approx(0.4)


def test_median_without_censoring_is_the_sample_median():
    assert kaplan_meier_median([12, 10, 14], [True] * 3).median == 12
    assert kaplan_meier_median([10, 20, 30, 40], [True] * 4).median == 20  # half are down at 20


def test_median_beyond_the_cap_is_not_invented():
    assert kaplan_meier_median([60, 60, 60], [False] * 3) == KaplanMeier(None, None, None, 3, 1.0)
    found = kaplan_meier_median([10, 60, 60], [True, False, False])
    assert found.median is None and found.high is None
    assert kaplan_meier_median([], []).median is None


def test_median_interval_covers():
    """Exponential times (median 100 log 2) under a cap; the interval's ends may be open."""
    rng, hits, trials = np.random.default_rng(7), 0, 200
    for _ in range(trials):
        times = rng.exponential(100, 25)
        found = kaplan_meier_median(np.minimum(times, 150), times <= 150)
        low, high = found.low or 0, np.inf if found.high is None else found.high
        hits += low <= 100 * np.log(2) <= high
    assert 0.88 <= hits / trials <= 0.99


def test_a_cap_below_twice_the_first_verifiers_median_shows():
    setup = AttackSetup(problems_per_step=16, incorrect=0.95, goodhart_accuracy=0.2, goodhart_start=0.4)
    made = [
        AttackRecord(
            verifier=v, reward="src", seed=s, steps=t, exploited=e, cap=50, quick=False, start="base", settings=setup
        )
        for v, t, e in ((0, 30, True), (1, 50, False))
        for s in range(3)
    ]
    rows = survival(made, 0.95)
    assert [r.cap_enough for r in rows] == [False, False] and rows[0].median == 30 and rows[1].censored == 1.0
