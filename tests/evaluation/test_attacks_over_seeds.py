"""Attacks of several runs, a run as one unit."""

from __future__ import annotations

import pytest

from legibility.evaluation.attacks_over_seeds import rates_over_seeds, survival_over_seeds, withstood
from tests.evaluation.summaries import summary_of


def test_the_interval_of_steps_to_exploit_is_over_seeds():
    made = [summary_of(s, attacks=((10 + s, 20 + s), (100, 40))) for s in range(3)]
    first, last = survival_over_seeds(made, 0.95)
    assert (first.median, first.n, first.low, first.high) == (12, 6, None, None)
    assert first.mean_steps.values == [15, 16, 17] and first.mean_steps.n == 3
    assert last.mean_steps.values == [70, 70, 70] and last.censored == 0.5 and last.cap == 100
    assert [(a.step, a.attacks) for a in last.at_risk] == [(0, 6), (25, 6), (50, 3), (75, 3), (100, 3)]


def test_steps_are_counted_up_to_a_cap_that_both_verifiers_share():
    """Verifier 0's attacks are all exploited, the last one's given up at 100: those beyond it count 100."""
    gaps, cap = withstood([summary_of(0, attacks=((10, 20), (100, 90))), summary_of(1)], "src", 0, 1)
    assert gaps == [80, None] and cap == 100
    assert withstood([summary_of(0)], "src", 0, 1) == ([None], 0)


def test_quick_attacks_give_way_to_full_ones():
    quick = summary_of(0, attacks=((1, 1),), quick=True)
    both = survival_over_seeds([quick, summary_of(1, attacks=((30, 30),))], 0.95)
    assert [(row.median, row.mean_steps.values) for row in both] == [(30, [None, 30])]
    assert [row.quick for row in survival_over_seeds([quick, summary_of(1)], 0.95)] == [True]


def test_rates_over_seeds_are_means_of_a_seed_s_attacks():
    made = [summary_of(s, rates={"cgc": ((0.2, 0.4), (0.1 + s / 10,))}) for s in range(2)]
    rows = rates_over_seeds([*made, summary_of(2)], 0.95)
    assert [(r.at, r.target, r.verifier) for r in rows] == [
        (at, target, v) for at, target in (("steps", 16), ("steps", 32), ("kl", 2)) for v in (0, 1)
    ]
    after_32 = {r.verifier: r for r in rows if r.target == 32}
    assert after_32[0].values == pytest.approx([0.3, 0.3, None]) and after_32[1].values[:2] == pytest.approx([0.1, 0.2])
    assert rates_over_seeds([summary_of(0)], 0.95) == []
