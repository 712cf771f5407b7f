"""The plan of whole games: what fits, what is refused and what would help; and the command."""

from __future__ import annotations

import json
import re

import pytest
from transformers import LlamaConfig

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.planning.devices import gpu
from legibility.planning.game_plan import GamePlan, check_fit, plan_game
from legibility.planning.plan_text import plan_text
from legibility.shipped_configs import shipped
from tests.planning.models import qwen_folder
from tests.support import ROOT, legibility

SMALL = ("verifier.batch_problems=1", "verifier.solutions_per_problem=8", "verifier.dtype=bfloat16")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """Overrides that name folders with the config.json of a Qwen2.5 prover and of a small verifier."""
    folder = tmp_path_factory.mktemp("models")
    return {
        size: [f"prover.model={qwen_folder(size, folder)}", f"verifier.model={qwen_folder('0.5B', folder)}", *SMALL]
        for size in ("1.5B", "7B")
    }


def peaks(plan: GamePlan) -> dict[str, float]:
    return {m.phase: m.peak for m in plan.memory}


def test_full_weights_of_seven_billion_are_counted_by_hand(qwen):
    config = load_config(ROOT / "configs/paper.yaml", [*qwen["7B"], "prover.lora=null"])
    plan = plan_game(config, "paper", gpu("h100"))
    (memory,) = [m for m in plan.memory if m.phase == "prover phase"]
    stays = sum(
        i.bytes for i in memory.items if i.name in ("prover's weights", "reference", "gradients", "AdamW's moments")
    )
    assert stays == 10 * 7_615_616_512, "bfloat16: weights, reference, gradients and two moments"
    with pytest.raises(UserError, match=r"does not fit: its prover phase needs .* GB a rank"):
        check_fit(plan, config, gpu("h100"))


def test_the_one_setting_that_helps_is_named(qwen):
    more = [
        *qwen["1.5B"],
        "prover.gradient_checkpointing=false",
        "ppo.micro_batch_size=64",
        "verifier.batch_problems=1",
    ]
    config = load_config(ROOT / "configs/paper.yaml", more)
    with pytest.raises(UserError) as refused:
        check_fit(plan_game(config, "paper", gpu("h100")), config, gpu("h100"))
    (setting,) = re.findall(r"; (\S+) would make it fit$", str(refused.value))
    changed = load_config(ROOT / "configs/paper.yaml", [*more, setting])
    check_fit(plan_game(changed, "paper", gpu("h100")), changed, gpu("h100"))


def test_micro_batches_are_what_a_large_verifier_step_wants(qwen):
    changes = [*qwen["1.5B"], "verifier.batch_problems=16", "verifier.micro_batch_size=null"]
    config = load_config(ROOT / "configs/paper.yaml", changes)
    with pytest.raises(UserError, match=r"; verifier.micro_batch_size=\d+ would make it fit$") as refused:
        check_fit(plan_game(config, "paper", gpu("h100")), config, gpu("h100"))
    (setting,) = re.findall(r"; (\S+) would", str(refused.value))
    changed = load_config(ROOT / "configs/paper.yaml", [*changes, setting])
    check_fit(plan_game(changed, "paper", gpu("h100")), changed, gpu("h100"))


def test_the_papers_step_fits_in_micro_batches(tmp_path):
    """configs/paper.yaml as it ships, with SmolLM2-135M's sizes: 256 solutions a step fit an H100, and not at once."""
    verifier = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    verifier.save_pretrained(tmp_path / "smollm2")
    models = [f"prover.model={qwen_folder('7B', tmp_path)}", f"verifier.model={tmp_path / 'smollm2'}"]
    config = load_config(ROOT / "configs/paper.yaml", models)
    plan = plan_game(config, "paper", gpu("h100"))
    check_fit(plan, config, gpu("h100"))
    whole = load_config(ROOT / "configs/paper.yaml", [*models, "verifier.micro_batch_size=null"])
    assert peaks(plan_game(whole, "paper", gpu("h100")))["verifier training"] > 10 * peaks(plan)["verifier training"]
    assert round(plan.seconds / 3600) == int(shipped("paper").takes.split()[0])


def test_what_nothing_helps_is_said(qwen):
    config = load_config(ROOT / "configs/paper.yaml", qwen["7B"])
    with pytest.raises(UserError, match="no setting makes it fit"):
        check_fit(plan_game(config, "paper", gpu("l4")), config, gpu("l4"))


def test_more_ranks_are_faster_and_hold_no_less_weight(qwen):
    config = load_config(ROOT / "configs/paper.yaml", qwen["7B"])
    one, eight = (plan_game(config, "paper", gpu("h100"), ranks=n) for n in (1, 8))
    assert one.seconds / 8 < eight.seconds < one.seconds / 2
    assert peaks(eight)["prover phase"] > 7_615_616_512 * 2
    with pytest.raises(UserError, match="--gpus: 17 ranks share minibatches of 16 prompts"):
        plan_game(config, "paper", gpu("h100"), ranks=17)


def test_utilization_and_lengths_are_taken(qwen):
    config = load_config(ROOT / "configs/paper.yaml", qwen["7B"])
    slow, fast = (plan_game(config, "paper", gpu("h100"), utilization=u) for u in (0.1, 0.5))
    assert slow.seconds > fast.seconds and slow.utilization == 0.1
    short = plan_game(config, "paper", gpu("h100"), prompt_tokens=50, answer_tokens=50)
    assert short.seconds < plan_game(config, "paper", gpu("h100")).seconds and short.prompt_tokens == 50


def test_the_command_prints_a_plan_of_this_machine():
    done = legibility("plan", "nano", "--cpu", "compute.threads=1", "problems.judge=750")
    assert done.code == 0, done.err
    for text in ("nano on 1 x cpu", "memory of a rank", "prover phase", "update", "the whole game", "--answer-tokens"):
        assert text in done.out
    assert max(map(len, done.out.splitlines())) < 100


def test_the_command_prints_json_that_is_read_back(qwen):
    done = legibility("plan", "paper", *qwen["7B"], "--gpus", 8, "--json")
    plan = GamePlan.model_validate(json.loads(done.out))
    assert done.code == 0 and plan.ranks == 8 and plan.device == "h100"
    assert plan_text(plan).startswith("paper on 8 x h100")


def test_the_command_refuses_in_a_line(qwen, monkeypatch):
    refused = legibility("plan", "paper", *qwen["7B"], "--gpu", "l4")
    assert refused.code == 2 and refused.err.startswith("error: paper does not fit") and refused.err.count("\n") == 1
    assert "prover phase" in refused.out, "the plan itself is shown"
    assert legibility("plan", "paper", "--gpu", "z9").err.startswith("error: --gpu: no figures")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    absent = legibility("plan", "paper")
    assert absent.code == 2 and absent.err.startswith("error: prover.model: cannot load 'Qwen/Qwen2.5-7B-Instruct'")


def test_a_plan_says_that_trl_is_not_counted(qwen):
    config = load_config(ROOT / "configs/qwen2.5-1.5b-gsm8k.yaml", [*qwen["1.5B"], "prover.trainer=grpo"])
    plan = plan_game(config, "q", gpu("h100"))
    (line,) = plan.not_counted
    assert line.startswith("prover.trainer: prover phases are counted as if PPO") and "With grpo TRL" in line
    assert plan_text(plan).endswith(line)
    usual = plan_game(
        config.model_copy(update={"prover": config.prover.model_copy(update={"trainer": "ppo"})}), "q", gpu("h100")
    )
    assert not usual.not_counted and "trainer" not in plan_text(usual)
