"""The base policy's text: which problems it writes for, under which name, and what is recorded of it."""

from __future__ import annotations

import pytest

from legibility.game.base import base_metrics, base_solutions
from legibility.game.reopen import reopen


@pytest.fixture(scope="module")
def game(tiny_run):
    return reopen(tiny_run)


def test_base_text_is_drawn_of_every_part_but_the_provers(game):
    rows = base_solutions(game)
    sizes = rows.groupby(["split", "role"]).size().to_dict()
    assert sizes == {
        ("verifier", "base"): 30 * 4,  # the larger of what a mixture and a collection take
        ("validation", "base"): 16 * 2,
        ("validation", "sneaky"): 16 * 2,
        ("test", "base"): 20 * 2,
        ("test", "sneaky"): 20 * 2,
        ("judge", "base"): 30 * 4,
    }
    assert set(rows.arm) == {"init"} and set(rows["round"]) == {-1} and set(rows.phase) == {"base"}
    assert rows.score.isna().all() and rows.reward.isna().all()


def test_accuracy_is_that_of_the_stored_text(game, tiny_run):
    rows, metrics = base_solutions(game), base_metrics(tiny_run)
    for (split, role), part in rows.groupby(["split", "role"]):
        name = f"{split}_{'helpful' if role == 'base' else role}"
        assert getattr(metrics, name) == pytest.approx((part.verdict == "correct").mean())
