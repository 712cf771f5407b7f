"""Accuracy, errors and times by hand, and the comparison at equal length."""

from __future__ import annotations

import pytest

from legibility.game.condition import Condition
from legibility.judging.accuracy import condition_results, differences, length_matched
from legibility.judging.protocol import AnalysisRules
from tests.judging.world import HELPFUL, RULES, SNEAKY, judged


def test_accuracy_and_errors_by_hand():
    """Right solutions: 3 of 4 accepted. Wrong ones: 1 of 2 rejected. Sneaky (wrong only): 1 of 4 rejected."""
    rows = [("a", f"p{i}", HELPFUL, True, i > 0, 10.0, 50) for i in range(4)]
    rows += [("b", "p0", HELPFUL, False, True, 20.0, 50), ("b", "p1", HELPFUL, False, False, 30.0, 50)]
    rows += [("c", f"p{i}", SNEAKY, False, i == 0, 4.0 + i, 50) for i in range(4)]
    helpful, sneaky = condition_results(judged(rows), [HELPFUL, SNEAKY], RULES)
    assert helpful.accuracy.value == pytest.approx((3 / 4 + 1 / 2) / 2)  # not 4 of 6: labels count alike
    assert helpful.false_reject.value == pytest.approx(1 / 4)
    assert helpful.false_accept.value == pytest.approx(1 / 2)
    assert helpful.mean_seconds.value == pytest.approx(90 / 6) and helpful.median_seconds == 10
    assert helpful.mean_seconds_when_right == pytest.approx((30 + 20) / 4)
    assert sneaky.accuracy.value == pytest.approx(1 / 4) and sneaky.false_accept.value == pytest.approx(3 / 4)
    assert sneaky.false_reject.value is None
    assert (helpful.raters, helpful.problems, helpful.judgments) == (2, 4, 6)
    (difference,) = differences(
        judged(
            [
                *rows,
                ("a", "p9", Condition("init", -1, "base"), True, True, 1.0, 9),
                ("a", "p8", Condition("init", -1, "base"), False, True, 1.0, 9),
            ]
        ),
        [HELPFUL, SNEAKY, Condition("init", -1, "base")],
        RULES,
    )
    assert difference.difference.value == pytest.approx(1 - 5 / 8)


def test_length_matching_by_hand():
    """A is right on long text only because it has more of it; at equal length A and B are the same."""
    a, b = Condition("init", -1, "base"), HELPFUL
    rows = []
    for condition, shorts, longs in ((a, 2, 8), (b, 8, 2)):
        for k in range(shorts):
            for label in (True, False):
                rows.append(("r", f"s{k}", condition, label, k % 2 == 0, 1.0, 10 + label))
        for k in range(longs):
            for label in (True, False):
                rows.append(("r", f"l{k}", condition, label, True, 1.0, 100 + label))
    frame = judged(rows)
    plain = condition_results(frame, [a, b], RULES)
    assert plain[0].accuracy.value == pytest.approx(0.9) and plain[1].accuracy.value == pytest.approx(0.6)
    matched = length_matched(frame, [a, b], AnalysisRules(bootstrap=100, length_bins=2))
    assert [c.accuracy.value for c in matched.conditions] == pytest.approx([0.75, 0.75])
    assert matched.coverage == 1
    apart = judged(
        [
            ("r", f"p{i}", c, label, True, 1.0, length + i)
            for c, length in ((a, 10), (b, 500))
            for i in range(4)
            for label in (True, False)
        ]
    )
    assert length_matched(apart, [a, b], AnalysisRules(bootstrap=100, length_bins=2)).conditions == []
