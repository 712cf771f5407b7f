import json
from functools import partial

import numpy as np
import pytest
import torch

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.arms import tandem
from legibility.game.arms.joint_text import JointWriting
from legibility.game.arms.tandem import check, measures
from legibility.game.context import Game
from legibility.game.phases import arm_prover
from legibility.game.prover_phase import load_training
from legibility.game.reopen import reopen
from legibility.game.run_records import TandemTraining
from legibility.game.solutions import Solution, read_solutions
from legibility.models.prover import Prover
from legibility.ppo import PPO, Batch
from legibility.rival_settings import TandemSettings
from tests.support import metrics

HERE = "arms/tandem/prover"
PURPOSE = {"arm": "correctness", "round_index": 0, "phase": "ppo", "split": "prover", "step": 1}


def row(share: float, tokens: int, verdict: str) -> Solution:
    where = {"arm": "tandem", "round": 0, "phase": "ppo", "split": "prover", "step": 1, "problem_id": "a", "sample": 0}
    text = {"role": "helpful", "text": "", "verdict": verdict, "prompt_tokens": 1, "truncated": False}
    return Solution(**where, **text, completion_tokens=tokens, junior_share=share)


def test_measures_by_hand():
    rows = [row(0, 10, "correct"), row(0, 10, "incorrect"), row(0.5, 20, "correct"), row(1, 10, "invalid")]
    assert measures(rows) == {
        "junior_share": (10 + 10) / 50,
        "accuracy_junior_none": 0.5,
        "accuracy_junior_less": 1.0,
        "accuracy_junior_more": 0.0,
    }
    assert np.isnan(measures([row(1, 0, "invalid")])["junior_share"])
    assert np.isnan(measures([row(1, 5, "invalid")])["accuracy_junior_none"])


def test_steps_and_record_say_how_much_the_junior_wrote(tiny_arms_run):
    rows = read_solutions(tiny_arms_run.folder(arm_prover("tandem")) / "solutions.parquet")
    share = (rows.junior_share * rows.completion_tokens).sum() / rows.completion_tokens.sum()
    assert 0.1 < share < 0.9
    facts = load_training(tiny_arms_run, "tandem", 0)
    assert isinstance(facts, TandemTraining)
    assert facts.junior_share == pytest.approx(share, abs=1e-6)
    assert (facts.unit, facts.share) == ("line", 0.5)
    for step, line in rows.groupby("step"):
        noted = metrics(tiny_arms_run, HERE)[step - 1]
        whole = (line.junior_share * line.completion_tokens).sum() / line.completion_tokens.sum()
        assert noted["junior_share"] == pytest.approx(whole, abs=1e-6)


def test_it_spends_as_the_correctness_arm_does_and_is_paid_alike(tiny_arms_run):
    mine = read_solutions(tiny_arms_run.folder(arm_prover("tandem")) / "solutions.parquet")
    other = read_solutions(tiny_arms_run.folder(arm_prover("correctness")) / "solutions.parquet")
    assert len(mine) == len(other[other.phase == "ppo"])
    assert set(mine.role) == {"helpful"}
    np.testing.assert_array_equal(mine.reward, np.where(mine.verdict == "correct", 1.0, -1.0))
    assert (mine.logprob_gap < 1e-3).all()  # the junior's tokens are none of it


def test_the_senior_alone_is_collected(tiny_arms_run):
    rows = read_solutions(tiny_arms_run.path / "arms/tandem/collection/solutions.parquet")
    assert rows.junior_share.isna().all()


@pytest.fixture(scope="module")
def game(tiny_run) -> Game:
    return reopen(tiny_run)


def joint_of(game: Game, share: float) -> JointWriting:
    joint = JointWriting.load(game)
    joint.settings = TandemSettings(share=share)
    return joint


def a_step(game: Game, write) -> tuple[list[str], dict[str, float], torch.Tensor]:
    """One PPO step of the base policy on what `write` draws: texts, metrics, weights afterwards."""
    prover = game.new_prover("test")
    torch.manual_seed(0)
    ppo = PPO(prover, game.config.ppo)
    drawn = write(game, prover, game.splits.prover[:4], ("helpful",), 4, value_head=ppo.sampling_head, **PURPOSE)
    rewards = np.array([1.0 if r.verdict == "correct" else -1.0 for r in drawn.rows])
    found = ppo.step(Batch(drawn.prompts, drawn.completions, rewards), np.random.default_rng(0))
    return [r.text for r in drawn.rows], found, torch.cat([p.detach().reshape(-1) for p in ppo.trained])


def test_without_a_share_it_is_the_correctness_arms_text_and_training(game):
    texts, found, weights = a_step(game, partial(tandem.write, joint_of(game, 0.0)))
    expected = a_step(game, Game.draw)
    assert texts == expected[0] and found == expected[1]
    assert torch.equal(weights, expected[2])


def test_no_gradient_reaches_the_junior(game):
    joint = joint_of(game, 0.5)
    before = [p.detach().clone() for p in joint.junior.model.parameters()]
    _, found, weights = a_step(game, partial(tandem.write, joint))
    assert found["grad_norm"] > 0 and torch.isfinite(weights).all()
    assert found["logprob_gap"] < 1e-3
    for old, now in zip(before, joint.junior.model.parameters(), strict=True):
        assert now.grad is None and not now.requires_grad and torch.equal(old, now)


def test_a_step_that_the_junior_wrote_alone_is_refused(game):
    with pytest.raises(UserError, match=r"rivals\.tandem\.share: the weak model wrote all"):
        a_step(game, partial(tandem.write, joint_of(game, 0.9999)))


def test_tokens_as_units_ask_for_one_tokenizer(tiny_config_file, tiny_overrides, tiny_prover_dir):
    apart = load_config(tiny_config_file, [*tiny_overrides, "rivals.tandem.unit=token"])
    prover = Prover.load(apart.prover, "cpu")
    with pytest.raises(UserError, match=r"rivals\.tandem\.unit: token needs") as caught:
        check(apart, prover, "cpu", None)
    assert "\n" not in str(caught.value)
    alike = load_config(
        tiny_config_file, [*tiny_overrides, "rivals.tandem.unit=token", f"verifier.model={tiny_prover_dir}"]
    )
    check(alike, prover, "cpu", None)


def test_an_encoder_cannot_write_along(tiny_config_file, tiny_overrides, tiny_bert_dir):
    config = load_config(tiny_config_file, [*tiny_overrides, f"verifier.model={tiny_bert_dir}"])
    with pytest.raises(UserError):
        check(config, Prover.load(config.prover, "cpu"), "cpu", None)


def test_vllm_cannot_change_writers(tiny_config_file, tiny_overrides):
    with pytest.raises(UserError, match="vllm cannot change writers"):
        load_config(tiny_config_file, [*tiny_overrides, "game.arms=[game, tandem]", "compute.engine=vllm"])


def test_the_record_is_json_as_others_read_it(tiny_arms_run):
    stored = json.loads((tiny_arms_run.path / HERE / "training.json").read_text())
    assert stored["reward"] == "tandem" and stored["arm"] == "tandem"
