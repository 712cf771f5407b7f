"""Groups of runs: who belongs together, and what two groups' numbers say of each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from legibility.evaluation.groups import ComparedRun, GroupComparison, compare_groups, difference, grouped, same_seeds
from tests.evaluation.summaries import summary_of


def run(seed: int, updates: int = 10, game: float = 0.5, **computed) -> ComparedRun:
    settings = {"seed": seed, "verifier": {"updates": updates}, "compute": {"threads": 1, **computed}}
    return ComparedRun(summary_of(seed, game=game), settings)


def two_groups(seeds: int, other: range | None = None, gap: float = 0.1) -> GroupComparison:
    """Groups of 10 and 20 updates; the second is better by `gap`, a little more with every second seed."""
    first = [run(s, game=0.4 + 0.03 * s) for s in range(seeds)]
    second = [run(s, 20, game=0.4 + 0.03 * s + gap + 0.01 * (s % 2)) for s in other or range(seeds)]
    return compare_groups([first, second], 0.95)


def accuracy(found: GroupComparison):
    return next(d for d in found.differences if (d.name, d.round) == ("helpful_accuracy", 1))


def test_a_group_is_the_runs_of_one_set_of_settings() -> None:
    runs = [run(0), run(0, 20), run(1, threads=2), run(1, 20), run(0, 30)]
    assert [[r.summary.seed for r in group] for group in grouped(runs)] == [[0, 1], [0, 1], [0]]
    found = compare_groups(grouped(runs), 0.95)
    assert [(s.name, s.values) for s in found.settings] == [("verifier.updates", [10, 20, 30])]
    assert [(g.name, g.seeds.seeds) for g in found.groups] == [("A", [0, 1]), ("B", [0, 1]), ("C", [0])]
    assert {(d.first, d.second) for d in found.differences} == {("A", "B"), ("A", "C"), ("B", "C")}


def test_equal_seeds_are_paired() -> None:
    found = accuracy(two_groups(3))
    assert found.paired and found.n == [3, 3]
    gaps = np.array([0.1, 0.11, 0.1])
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (found.difference, found.low, found.high) == pytest.approx((gaps.mean(), low, high))
    assert found.p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)


def test_other_seeds_are_welchs() -> None:
    found = accuracy(two_groups(3, range(7, 11)))
    assert not found.paired and found.n == [3, 4]
    one = [0.4 + 0.03 * s for s in range(3)]
    other = [0.5 + 0.03 * s + 0.01 * (s % 2) for s in range(7, 11)]
    test = stats.ttest_ind(other, one, equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert (found.difference, found.p) == pytest.approx((np.mean(other) - np.mean(one), test.pvalue))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_group_inside_another_is_paired_on_its_own_seeds() -> None:
    assert same_seeds([summary_of(s) for s in (0, 1, 2)], [summary_of(s) for s in (1, 2)])
    assert not same_seeds([summary_of(0), summary_of(1)], [summary_of(1), summary_of(2)])
    assert accuracy(two_groups(4, range(1, 3))).n == [2, 2]


def test_few_seeds_decide_nothing_however_clear() -> None:
    assert {d.verdict for d in two_groups(4).differences} == {"too few seeds"}
    found = two_groups(5)
    assert accuracy(found).verdict == "held"
    same = next(d for d in found.differences if d.name == "start_accuracy")
    assert same.difference == 0 and same.p == 1 and same.verdict == "not held"


def test_what_decides_is_the_p_adjusted_for_all_differences() -> None:
    found = two_groups(5)
    known = [d for d in found.differences if d.p is not None]
    assert found.tests == len(known) > 5
    assert all(d.p_holm >= d.p for d in known)
    assert {d.name for d in known if d.verdict == "held"} <= {d.name for d in known if d.p_holm < 0.05}


def test_one_run_a_group_has_a_difference_and_no_interval() -> None:
    found = accuracy(two_groups(1))
    assert found.difference == pytest.approx(0.1) and (found.low, found.p) == (None, None)


def test_intervals_of_differences_of_rates_end_at_one() -> None:
    first = [run(s, game=0.02 + 0.5 * s) for s in range(2)]
    second = [run(s, 20, game=0.9 - 0.5 * s) for s in range(2)]
    found = accuracy(compare_groups([first, second], 0.95))
    assert (found.low, found.high) == (-1, 1)
    steps = difference(np.array([0.0, 90.0]), np.array([80.0, 10.0]), paired=True, confidence_level=0.95)
    assert steps.low < -1 and steps.high > 1
