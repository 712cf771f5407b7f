"""Measures are read from the rows of their arm, and of their judge."""

import pytest

from legibility.evaluation.attack_schema import RobustnessRow
from legibility.evaluation.reading_schema import AcceptanceRow, HandoffRow, InvarianceRow, SufficiencyRow
from legibility.evaluation.schema import Evaluation
from legibility.frontier.measures import MEASURES
from legibility.game.condition import CORRECTNESS_ONLY, HELD_OUT_JUDGE, START, Condition, helpful, reader, verifier
from legibility.stored import Interval

TANDEM = Condition("tandem", 0, "helpful")
BY_NAME = {measure.name: measure for measure in MEASURES}
OF = {name: measure.of for name, measure in BY_NAME.items()}


def at(value: float) -> Interval:
    return Interval(value=value, low=value, high=value)


def attacked(arm: str, reward: str, seed: int, target: float, fpr: float | None) -> RobustnessRow:
    return RobustnessRow(
        verifier=0, reader=arm, reward=reward, seed=seed, at="steps", target=target, steps=int(target), kl=1.0, fpr=fpr,
        low=None, high=None, own_round=Interval(), texts=30, problems=10, window=8, recall=0.8,
    )  # fmt: skip


def test_names_and_labels_differ():
    assert len(BY_NAME) == len(MEASURES) == len({measure.label for measure in MEASURES})


def test_nothing_measured_is_nothing_known():
    assert all(measure.of(Evaluation(), TANDEM) is None for measure in MEASURES)


def test_a_reader_is_the_arm_s_own():
    rows = [
        AcceptanceRow(
            arm=TANDEM, judge=judge, pairwise=at(pair), recall=at(0.8), fpr=at(0.1), g_mean_squared=at(square)
        )
        for judge, pair, square in (
            (HELD_OUT_JUDGE, 0.6, 0.3),
            (reader("tandem"), 0.9, 0.7),
            (reader("game"), 0.1, 0.0),
        )
    ]
    found = Evaluation(acceptance=rows)
    assert BY_NAME["reader"].of(found, TANDEM) == 0.9
    assert BY_NAME["reader_g_mean"].of(found, TANDEM) == 0.7
    assert BY_NAME["judge_g_mean"].of(found, TANDEM) == 0.3
    assert BY_NAME["reader"].of(found, Condition("rft", 0, "helpful")) is None


def test_attackers_are_compared_at_steps_that_all_have_made():
    rows = [
        attacked("tandem", "src", 0, 8, 0.0),
        attacked("tandem", "src", 0, 16, 0.2),
        attacked("tandem", "src", 1, 16, 0.4),
        attacked("tandem", "src", 1, 8, 0.0),
        attacked("tandem", "src", 0, 32, 0.9),  # the others were not made so long
        attacked("tandem", "cgc", 0, 8, 0.0),
        attacked("tandem", "cgc", 0, 16, 0.5),
        attacked("game", "src", 0, 8, 1.0),
        attacked("game", "src", 0, 16, 1.0),
    ]
    found = Evaluation(reader_robustness=rows)
    # step 16: SRC (0.8 + 0.6) / 2, CGC 0.5, and the mean of both rewards
    assert BY_NAME["refused"].of(found, TANDEM) == pytest.approx((0.7 + 0.5) / 2)
    assert BY_NAME["refused"].of(found, Condition("game", 3, "helpful")) == 0
    assert BY_NAME["refused"].of(found, Condition("rft", 0, "helpful")) is None


def test_a_change_of_hands():
    row = HandoffRow(
        arm=TANDEM, texts=4, nothing_handed_over=0, writer=at(0.5), alone=at(0.1), joint=at(0.4), utility=at(0.3),
        robustness=at(0.8),
    )  # fmt: skip
    found = Evaluation(handoff=[row])
    assert (BY_NAME["robustness"].of(found, TANDEM), BY_NAME["utility"].of(found, TANDEM)) == (0.8, 0.3)


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
