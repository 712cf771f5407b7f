"""Rates under attack, drawn by steps and by KL; what the table shows of them."""

from __future__ import annotations

import pytest

from legibility.evaluation.attacks_over_seeds import robustness_of
from legibility.reporting.drawing import LIGHT
from legibility.reporting.robustness_figure import last_rates, robustness_figure
from tests.evaluation.summaries import summary_of


def test_a_line_per_verifier_and_a_dot_per_attack() -> None:
    rows = robustness_of(summary_of(0, rates={"src": ((0.3, 0.5), (0.1,)), "goodhart": ((0.2,), (0.2,))}))
    drawn = robustness_figure(rows, LIGHT)
    assert [ax.get_title(loc="left") for ax in drawn.axes] == ["SRC", "Goodhart", "", ""]
    steps, nats = drawn.axes[0], drawn.axes[2]
    recall, dots, mean, _, one = steps.lines
    assert list(recall.get_ydata()) == [0.8, 0.8]  # what a verifier that knows nothing accepts
    assert list(dots.get_xdata()) == [16, 32, 16, 32] and list(dots.get_ydata()) == [0.6, 0.3, 1.0, 0.5]
    assert list(mean.get_ydata()) == pytest.approx([0.8, 0.4]) and list(one.get_ydata()) == [0.2, 0.1]
    assert [t.get_text() for t in steps.texts] == ["verifier 1", "verifier 0"]
    assert list(nats.lines[2].get_ydata()) == pytest.approx([0.2])
    assert robustness_figure([r.model_copy(update={"fpr": None}) for r in rows], LIGHT) is None


def test_the_table_has_the_furthest_points_that_all_attacks_share() -> None:
    shown = last_rates(summary_of(0, rates={"src": ((0.3, 0.5), (0.1,))}))
    assert [(r.at, r.target, r.verifier, r.seed) for r in shown] == [
        ("steps", 32, 0, 0),
        ("steps", 32, 0, 1),
        ("steps", 32, 1, 0),
        ("kl", 2, 0, 0),
        ("kl", 2, 0, 1),
        ("kl", 2, 1, 0),
    ]
    assert last_rates(summary_of(0)) == []
