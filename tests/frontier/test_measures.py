"""Measures are read from the rows of their arm, and of their judge."""

from __future__ import annotations

from legibility.evaluation.reading_schema import InvarianceRow, SufficiencyRow
from legibility.evaluation.schema import Evaluation
from legibility.frontier.measures import MEASURES
from legibility.game.condition import CORRECTNESS_ONLY, HELD_OUT_JUDGE, START, helpful, verifier
from legibility.stored import Interval

OF = {measure.name: measure.of for measure in MEASURES}


def test_sufficiency_is_read_from_the_arms_row():
    none = Interval()
    row = SufficiencyRow(
        arm=helpful(1), texts=9, no_steps=0.0, writer=none, own=Interval(value=0.75), told=none,
        follows=Interval(value=0.5), follows_null=none, used=none,
    )  # fmt: skip
    found = Evaluation(sufficiency=[row])
    assert (OF["sufficiency"](found, helpful(1)), OF["follows"](found, helpful(1))) == (0.75, 0.5)
    assert OF["sufficiency"](found, START) is None and OF["follows"](Evaluation(), START) is None


def test_order_in_another_style_is_the_held_out_judges():
    rows = [
        InvarianceRow(arm=START, verifier=verifier(0), texts=9, rewrites=7.0, order=Interval(value=0.6)),
        InvarianceRow(arm=START, verifier=HELD_OUT_JUDGE, texts=9, rewrites=7.0, order=Interval(value=0.9)),
        InvarianceRow(arm=CORRECTNESS_ONLY, verifier=HELD_OUT_JUDGE, texts=9, rewrites=7.0),
    ]
    found = Evaluation(invariance=rows)
    assert [OF["order"](found, arm) for arm in (START, CORRECTNESS_ONLY, helpful(0))] == [0.9, None, None]
