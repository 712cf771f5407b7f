"""When a round ends early."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.config import StopSettings
from legibility.game.stop import CollapseTracker, FooledTracker, Smoothed

NAN = math.nan


def measured(helpful_correct, sneaky_incorrect, sneaky_accuracy, texts=1000) -> dict[str, float]:
    """What the tracker reads of a step's metrics; `texts` in every cell."""
    return {
        "score_helpful_correct": helpful_correct,
        "texts_helpful_correct": texts,
        "score_sneaky_incorrect": sneaky_incorrect,
        "texts_sneaky_incorrect": texts,
        "accuracy_sneaky": sneaky_accuracy,
        "texts_sneaky": texts,
    }


def track(rows, texts=1000, **settings) -> tuple[FooledTracker, int | None]:
    """Feed (V(helpful, correct), V(sneaky, incorrect), sneaky accuracy) per step; the step it stops at."""
    tracker = FooledTracker(StopSettings(**{"min_steps": 0, **settings}))
    for step, row in enumerate(rows, start=1):
        tracker.observe(step, measured(*row, texts=texts))
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
    assert track(rows, min_steps=7, patience=4)[1] == 11
    tracker, stopped = track(rows, rule="fixed")
    assert (tracker.exploited_at, stopped) == (1, None)  # still measured


def test_nothing_is_exploited_before_the_least_step():
    """A gap that is closed for the first steps alone fools nobody; one that closes again later does, then."""
    rows = [(0.0, 1.0, 0.0)] * 5 + [(1.0, 0.0, 0.0)] * 10 + [(0.0, 1.0, 0.0)] * 5
    tracker, stopped = track(rows, min_steps=10, ema=1.0)
    assert (tracker.exploited_at, stopped) == (16, 16)
    assert track([(0.0, 1.0, 0.0)] * 12, min_steps=10)[0].exploited_at == 10


def test_a_small_batch_fools_nobody_at_its_first_step():
    """16 samples a role. Weight 1/2: steps 1, 2, 3 stand for 16, 32, 42.7 samples. Weight 0.2: step 4 for 46.5, 5 for 61.5."""
    rows = [(0.0, 1.0, 0.0)] * 9
    assert track(rows, texts=16, ema=0.5, min_samples=16)[0].exploited_at == 1
    assert track(rows, texts=16, ema=0.5, min_samples=17)[0].exploited_at == 2
    assert track(rows, texts=16, ema=0.5, min_samples=42)[0].exploited_at == 3
    assert track(rows, texts=16, ema=0.5, min_samples=48)[0].exploited_at is None  # the limit is 16 (2 - w) / w = 48
    assert track(rows, texts=16)[0].exploited_at == 5  # the defaults: 50 samples at a weight of 0.2


@given(st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 50)), min_size=1, max_size=12), st.floats(0.05, 1))
def test_smoothed_value_and_samples_against_the_weights(batches, weight):
    """Weights written out: w (1 - w)^k for the batch k steps ago, the rest for the first."""
    smoothed = Smoothed(weight)
    for mean, samples in batches:
        smoothed.update(mean, samples)
        smoothed.update(NAN, 0)  # an empty cell
    n = len(batches)
    weights = [(1 - weight) ** (n - 1)] + [weight * (1 - weight) ** (n - 1 - t) for t in range(1, n)]
    assert smoothed.value == pytest.approx(sum(w * m for w, (m, _) in zip(weights, batches, strict=True)), abs=1e-9)
    variance = sum(w * w / k for w, (_, k) in zip(weights, batches, strict=True))
    assert smoothed.samples == pytest.approx(1 / variance)


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
        tracker.observe(step, {"accuracy_helpful": value, "texts_helpful": 1000})
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
