import pandas as pd
import pytest

from legibility.frontier.spending import Spent, spent, tokens
from legibility.game.condition import CORRECTNESS_ONLY, START, Condition, helpful
from legibility.game.solutions import read_solutions
from legibility.planning.shapes import prover_shape
from tests.support import training


def test_a_group_reads_its_prompt_once():
    frame = pd.DataFrame(
        {
            "step": [1, 1, 1, 2],
            "problem_id": ["a", "a", "b", "a"],
            "role": ["helpful"] * 4,
            "prompt_tokens": [5, 5, 7, 5],
            "completion_tokens": [1, 2, 3, 4],
        }
    )
    assert tokens(frame) == (10.0, 17.0)


def test_the_start_costs_nothing(tiny_arms_run):
    assert spent(tiny_arms_run, START) == Spent()


def test_the_correctness_arm_by_hand(tiny_arms_run):
    """Sampling, PPO's passes and the reference's, of a policy alone: no verifier."""
    config = tiny_arms_run.config()
    frame = read_solutions(tiny_arms_run.path / "arms/correctness/prover/solutions.parquet").query("phase == 'ppo'")
    weights = prover_shape(config.prover).parameters
    completion, prompt = tokens(frame)
    by_hand = weights * (completion + prompt) * (2 + 6 * config.ppo.epochs + 2)
    assert spent(tiny_arms_run, CORRECTNESS_ONLY) == Spent(3, len(frame), pytest.approx(by_hand))


def test_a_later_round_costs_what_it_rests_on(tiny_arms_run):
    first, second = spent(tiny_arms_run, helpful(0)), spent(tiny_arms_run, helpful(1))
    assert (first.steps, second.steps) == (3, 6)
    collected = 30 * 4 * 2  # verifier problems, samples, roles
    assert second.completions == 2 * first.completions + collected
    assert second.flops > 2 * first.flops


def test_arms_at_equal_steps_draw_equal_completions(tiny_arms_run):
    counts = {
        arm: spent(tiny_arms_run, Condition(arm, 0, "helpful")).completions
        for arm in ("correctness", "correctness-short", "rft", "consultancy", "tandem")
    }
    assert len(set(counts.values())) == 1
    assert set(counts.values()) == {spent(tiny_arms_run, helpful(0)).completions}


def test_tandem_pays_for_its_junior(tiny_arms_run):
    """By hand: what the correctness arm's phase costs, and the junior's pass over every text."""
    config = tiny_arms_run.config()
    frame = read_solutions(tiny_arms_run.path / "arms/tandem/prover/solutions.parquet")
    senior, junior = prover_shape(config.prover).parameters, training(tiny_arms_run, "rounds/00/verifier")["parameters"]
    by_hand = sum(tokens(frame)) * (senior * (2 + 6 * config.ppo.epochs + 2) + junior * 2)
    assert spent(tiny_arms_run, Condition("tandem", 0, "helpful")).flops == pytest.approx(by_hand)
