"""When a round ends early."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.config import StopSettings
from legibility.game.stop import CollapseTracker, FooledTracker

NAN = math.nan


def track(rows, **settings) -> tuple[FooledTracker, int | None]:
    """Feed (V(helpful, correct), V(sneaky, incorrect), sneaky accuracy) per step; the step it stops at."""
    tracker = FooledTracker(StopSettings(**{"min_steps": 0, **settings}))
    for step, row in enumerate(rows, start=1):
        tracker.update(step, *row)
        if tracker.should_stop(step):
            return tracker, step
    return tracker, None


def test_smoothing_by_hand():
    """Weight 0.2 on the newest step, started at the first value: gap 1, then 1 + 0.2 * (-1 - 1) = 0.6, then 0.28."""
    tracker, _ = track([(1.0, 0.0, 0.0)], ema=0.2)
    assert tracker.gap == pytest.approx(1.0)
    tracker, _ = track([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)], ema=0.2)
    assert tracker.gap == pytest.approx(0.6)
    tracker, _ = track([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0)], ema=0.2)
    assert tracker.gap == pytest.approx(0.28)


def test_exploited_at_the_first_step_whose_smoothed_gap_closes():
    # the raw gap closes at step 2; smoothed it is 0.6, 0.28, 0.024, then -0.18 at step 5
    rows = [(1.0, 0.0, 0.0)] + [(0.0, 1.0, 0.0)] * 9
    tracker, stopped = track(rows, ema=0.2)
    assert (tracker.exploited_at, stopped) == (5, 5)
    assert track(rows, ema=1.0)[0].exploited_at == 2


def test_equal_scores_count_as_fooled():
    assert track([(0.5, 0.5, 0.0)])[0].exploited_at == 1


def test_never_exploited():
    tracker, stopped = track([(1.0, 0.9, 0.0)] * 30)
    assert tracker.exploited_at is None and stopped is None


def test_a_sneaky_role_that_is_right_fools_nobody():
    tracker, stopped = track([(0.0, 1.0, 0.5)] * 30, sneaky_accuracy=0.1)
    assert tracker.exploited_at is None and stopped is None
    assert track([(0.0, 1.0, 0.1)], sneaky_accuracy=0.1)[0].exploited_at == 1  # at the threshold it counts
    assert track([(0.0, 1.0, 0.5)], sneaky_accuracy=0.5)[0].exploited_at == 1


def test_empty_cells_leave_the_average_as_it_was():
    """A step without one sneaky-incorrect (or helpful-correct) completion has no mean score."""
    tracker, _ = track([(NAN, 1.0, 0.0), (NAN, 2.0, 0.0)], ema=0.5)
    assert math.isnan(tracker.gap) and tracker.exploited_at is None
    tracker, _ = track([(1.0, 0.0, 0.0), (NAN, NAN, 0.0), (0.0, NAN, 0.0)], ema=0.5)
    assert tracker.gap == pytest.approx(0.5)


def test_minimum_steps_patience_and_the_fixed_rule():
    rows = [(0.0, 1.0, 0.0)] * 20
    assert track(rows)[1] == 1
    assert track(rows, min_steps=7)[1] == 7
    assert track(rows, patience=4)[1] == 5
    assert track(rows, min_steps=7, patience=4)[1] == 7
    tracker, stopped = track(rows, rule="fixed")
    assert (tracker.exploited_at, stopped) == (1, None)  # still measured


@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 2, st.floats(0, 1)), min_size=1, max_size=25), st.floats(0.05, 1))
def test_smoothing_and_stop_against_a_plain_loop(rows, ema):
    smooth, exploited = None, None
    for step, row in enumerate(rows, start=1):
        smooth = (
            list(row) if smooth is None else [old + ema * (new - old) for old, new in zip(smooth, row, strict=True)]
        )
        if exploited is None and smooth[0] - smooth[1] <= 0 and smooth[2] <= 0.1:
            exploited = step
    tracker, _ = track(rows, ema=ema, rule="fixed")
    assert tracker.exploited_at == exploited
    assert tracker.gap == pytest.approx(smooth[0] - smooth[1])


def test_without_the_condition_on_accuracy_scores_alone_decide():
    """The paper's rule for SRC."""
    assert track([(0.0, 1.0, 0.9)], sneaky_accuracy=1.0)[0].exploited_at == 1


def collapse(accuracies, **settings) -> tuple[CollapseTracker, int | None]:
    tracker = CollapseTracker(StopSettings(**{"min_steps": 0, **settings}))
    for step, value in enumerate(accuracies, start=1):
        tracker.observe(step, {"accuracy_helpful": value})
        if tracker.should_stop(step):
            return tracker, step
    return tracker, None


def test_a_goodhart_round_ends_when_smoothed_accuracy_is_lost():
    # weight 0.5: 0.4, then 0.2 (not below 0.2), then 0.1
    tracker, stopped = collapse([0.4, 0.0, 0.0, 0.0], ema=0.5)
    assert (tracker.exploited_at, stopped) == (3, 3) and tracker.gap == pytest.approx(-0.1)
    assert collapse([0.4, 0.0, 0.0, 0.0], ema=0.5, min_steps=4)[1] == 4
    assert collapse([0.4, 0.0, 0.0, 0.0], ema=0.5, patience=1)[1] == 4
    assert collapse([0.4, 0.0, 0.0, 0.0], ema=0.5, goodhart_accuracy=0.05)[1] is None
    fixed, stopped = collapse([0.4, 0.0, 0.0, 0.0], ema=0.5, rule="fixed")
    assert (fixed.exploited_at, stopped) == (3, None)
    assert collapse([0.5] * 20)[0].exploited_at is None
    assert math.isnan(CollapseTracker(StopSettings()).gap)
