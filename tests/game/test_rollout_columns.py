"""A step's completions as columns: planted rows, metrics and rewards worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legibility.config import RewardSettings
from legibility.errors import UserError
from legibility.game.rollout_columns import (
    Rollouts,
    attack_reward,
    correctness_rewards,
    describe,
    score_scale,
    spread,
    verifier_rewards,
)
from legibility.game.solutions import Solution


def solution(problem: str, role: str, verdict: str, score: float | None, length: int = 5) -> Solution:
    return Solution(
        arm="game",
        round=0,
        phase="ppo",
        split="prover",
        step=1,
        problem_id=problem,
        sample=0,
        role=role,
        text="",
        verdict=verdict,
        prompt_tokens=3,
        completion_tokens=length,
        truncated=length > 8,
        score=score,
    )


ROWS = [
    solution("p", "helpful", "correct", 3.0, length=4),
    solution("p", "helpful", "incorrect", 1.0, length=6),
    solution("q", "helpful", "invalid", 2.0, length=9),
    solution("q", "helpful", "correct", 2.0, length=5),
    solution("p", "sneaky", "incorrect", 5.0),
    solution("p", "sneaky", "correct", -1.0),
]


def test_columns_of_rows():
    batch = Rollouts.of(ROWS)
    assert batch.scores.tolist() == [3, 1, 2, 2, 5, -1]
    assert batch.correct.tolist() == [True, False, False, True, False, True]
    assert batch.valid.tolist() == [True, True, False, True, True, True]
    assert batch.helpful.tolist() == [True] * 4 + [False] * 2
    assert batch.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.length.tolist() == [4, 6, 9, 5, 5, 5]
    assert batch.truncated.tolist() == [False, False, True, False, False, False]
    assert batch.rows is ROWS and batch.scored and len(batch) == 6


def test_metrics_by_hand():
    paid = np.array([2.0, -1.0, -1.0, -1.0, 3.0, -1.0])
    assert describe(Rollouts.of(ROWS), paid) == pytest.approx(
        {
            "reward": 1 / 6,
            "texts_helpful": 4,
            "texts_helpful_correct": 2,
            "texts_helpful_incorrect": 1,
            "texts_sneaky": 2,
            "texts_sneaky_correct": 1,
            "texts_sneaky_incorrect": 1,
            "accuracy_helpful": 1 / 2,
            "invalid_helpful": 1 / 4,
            "length_helpful": 6.0,
            "reward_helpful": -1 / 4,
            "score_helpful_correct": 2.5,
            "score_helpful_incorrect": 1.0,
            "accuracy_sneaky": 1 / 2,
            "invalid_sneaky": 0.0,
            "length_sneaky": 5.0,
            "reward_sneaky": 1.0,
            "score_sneaky_correct": -1.0,
            "score_sneaky_incorrect": 5.0,
            "truncated": 1 / 6,
            "score_std_within": (1 + 0 + 3) / 3,
            "flat_groups": 1 / 3,  # q's, both paid -1
        }
    )


def test_empty_cells_and_missing_scores_are_nan():
    rows = [replace(row, score=None) for row in ROWS if row.role == "helpful"]
    batch = Rollouts.of(rows)
    metrics = describe(batch, correctness_rewards(batch))
    assert not batch.scored
    assert np.isnan([metrics["accuracy_sneaky"], metrics["score_helpful_correct"], metrics["score_std_within"]]).all()
    assert metrics["reward"] == 0.0 and metrics["flat_groups"] == 0.0


def test_rewards_by_hand():
    batch = Rollouts.of(ROWS)
    # means of the groups 2, 2, 2: V' = 1, -1, 0, 0, 3, -3
    src = verifier_rewards(RewardSettings(kind="src"), batch, 0.5)
    np.testing.assert_array_equal(src, [2, -1, -1, -1, 6, -1])
    cgc = verifier_rewards(RewardSettings(kind="cgc", floor=-3.0), batch, 1.0)
    np.testing.assert_array_equal(cgc, [3, -3, -3, 2, 5, -3])
    centred = verifier_rewards(RewardSettings(kind="cgc", center=True, clip=2.0), batch, 1.0)
    np.testing.assert_array_equal(centred, [1, -2, -2, 0, 2, -2])
    goodhart = verifier_rewards(RewardSettings(kind="goodhart"), batch, 1.0)
    np.testing.assert_array_equal(goodhart, [3, 1, -1, 2, 5, -1])
    np.testing.assert_array_equal(correctness_rewards(batch), [1, -1, -1, 1, -1, 1])


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_is_refused(score):
    with pytest.raises(UserError, match="1 of 6 completions no finite score"):
        Rollouts.of([replace(ROWS[0], score=score), *ROWS[1:]])


def test_only_players_write_in_a_step():
    with pytest.raises(ValueError, match="base"):
        Rollouts.of([replace(ROWS[0], role="base"), *ROWS[1:]])


def test_spread_of_groups_by_hand():
    values = spread(np.array([1.0, -2.0, 7.0, 4.0, 0.5]), np.array([0, 0, 1, 0, 2]))
    assert values.tolist() == [6.0, 0.0, 0.0]


def test_goodhart_is_paid_the_raw_score():
    """Eq. 4: V, whatever the settings for the other rewards say; unreadable text gets the least."""
    settings = RewardSettings(kind="goodhart", scale="running", center=True, clip=0.5)
    rollouts = Rollouts.of(ROWS)
    paid = verifier_rewards(settings, rollouts, scale=7.0)
    assert paid.tolist() == np.where(rollouts.valid, rollouts.scores, rollouts.scores.min()).tolist()
    assert score_scale(settings) == "none"


def test_uncentred_cgc_does_not_go_with_a_running_scale():
    with pytest.raises(UserError, match=r"reward.scale: running .*; set reward.center to true, or reward.scale"):
        score_scale(RewardSettings(kind="cgc", scale="running"))
    assert score_scale(RewardSettings(kind="cgc", scale="running", center=True)) == "running"
    assert score_scale(RewardSettings(kind="cgc", scale="calibrated")) == "calibrated"
    assert score_scale(RewardSettings(kind="src", scale="running")) == "running"


def test_attackers_of_another_kind_are_paid_by_the_papers_constants():
    src = RewardSettings(kind="src", scale="running", floor=-0.5)
    assert attack_reward(src, "src") == src
    cgc = attack_reward(src, "cgc")
    assert (cgc.kind, cgc.floor, cgc.scale, score_scale(cgc)) == ("cgc", None, "calibrated", "calibrated")
    centred = attack_reward(src.model_copy(update={"center": True}), "cgc")
    assert (centred.floor, centred.scale) == (None, "running")
    assert score_scale(attack_reward(src, "goodhart")) == "none"
