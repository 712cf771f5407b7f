"""Steps to exploit as survival data."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.evaluation.attack_schema import AttackRecord, FixedReference
from legibility.evaluation.attacks.survival import (
    KaplanMeier,
    kaplan_meier_median,
    step_cap,
    survival,
    too_many_censored,
)
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
    assert kaplan_meier_median([10], [True]) == KaplanMeier(10, None, None, 1, 0.0)  # one attack has no interval


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


def record(verifier=0, steps=30, exploited=True, seed=0, cap=50, fixed=None) -> AttackRecord:
    setup = AttackSetup(problems_per_step=16, incorrect=0.95, goodhart_accuracy=0.2, goodhart_start=0.4)
    return AttackRecord(
        verifier=verifier,
        reward="src",
        seed=seed,
        steps=steps,
        exploited=exploited,
        cap=cap,
        quick=False,
        start="base",
        settings=setup,
        fixed_reference=fixed,
    )


def test_attacks_at_risk_by_hand():
    """At step s an attack is at risk that was neither exploited nor given up before it."""
    made = [record(steps=10), record(steps=25), record(steps=40, exploited=False, cap=40)]
    (row,) = survival(made, 0.95)
    assert [(a.step, a.attacks) for a in row.at_risk] == [(0, 3), (10, 3), (20, 2), (30, 1), (40, 1)]
    assert row.cap == 40 and row.fixed_reference is None


def test_the_fixed_reference_has_a_median_of_its_own():
    fixed = [FixedReference(steps=s, exploited=True) for s in (20, 30, 40)]
    made = [record(steps=10, seed=i, fixed=f) for i, f in enumerate(fixed)]
    (row,) = survival(made, 0.95)
    assert row.median == 10 and row.fixed_reference.median == 30 and row.fixed_reference.censored == 0
    (row,) = survival([*made, record(seed=3)], 0.95)  # an older attack does not know
    assert row.fixed_reference is None


def test_at_most_a_third_may_end_unexploited():
    assert not too_many_censored([record(), record(), record(exploited=False)])
    assert too_many_censored([record(), record(exploited=False)]) and not too_many_censored([])
