"""Whole games: what each problem is used for, and games under every other switch."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from transformers import Lfm2Config, Lfm2ForCausalLM

from legibility import rewards
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.solutions import round_solutions
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.packing import pack
from legibility.play import train
from legibility.problems.storage import read_problems
from legibility.progress import Progress
from tests.support import forget_hashes, metrics, play_with, ppo_rows, quiet, teach, training

PROVERS = ("rounds/00/prover", "rounds/01/prover", "arms/correctness/prover")


def test_each_half_is_used_for_its_purpose_only(tiny_run):
    split_of = {}
    for line in (tiny_run.path / "problems.jsonl").read_text().splitlines():
        record = json.loads(line)
        split_of[record["id"]] = record["split"]
    frames = [pd.read_parquet(p) for p in tiny_run.path.rglob("solutions.parquet")]
    rows = pd.concat(frames)
    assert (rows.problem_id.map(split_of) == rows.split).all()
    assert (rows[rows.phase == "ppo"].split == "prover").all()
    assert set(rows.verdict) == {"correct", "incorrect", "invalid"}


def test_verdicts_are_the_graders(tiny_run):
    from legibility.grading import grade

    problems = read_problems(tiny_run.path / "problems.jsonl")
    for row in round_solutions(tiny_run, 1).itertuples():
        assert row.verdict == grade(row.text, problems[row.problem_id].answer, truncated=row.truncated).value
        assert "<|" not in row.text


def test_no_draw_is_made_twice(tiny_run):
    """Same problem, same role, same base policy: the samples of two phases must differ somewhere."""
    drawn = {}
    for index in (0, 1):
        rows = ppo_rows(tiny_run, index)
        drawn[index] = rows[rows.step == 1]
    together = pd.merge(drawn[0], drawn[1], on=["problem_id", "role", "sample"])
    if len(together) >= 8:
        assert (together.text_x != together.text_y).any()
    base = pd.read_parquet(tiny_run.path / "base/solutions.parquet")
    base = base[(base.split == "test")]
    pairs = pd.merge(base[base.role == "base"], base[base.role == "sneaky"], on=["problem_id", "sample"])
    assert (pairs.text_x != pairs.text_y).any()


def test_lora_on_a_warm_started_base(tiny_config_file, tiny_overrides, tmp_path):
    """Warm start, adapters, KL to the warm-started policy: as the real-model run is set up."""
    run = play_with(
        tiny_config_file,
        tiny_overrides,
        tmp_path / "run",
        "prover.lora={r: 4}",
        "prover.warm_start={steps: 4, batch_size: 8}",
        "ppo.learning_rate=0.01",
        "ppo.steps=2",
    )
    warm = run.path / "warm_start/model"
    assert (warm / "model.safetensors").is_file() and not (warm / "adapter_config.json").exists()
    for place in PROVERS:
        assert (run.path / place / "adapter_model.safetensors").is_file() and not (
            run.path / place / "model.safetensors"
        ).exists()
        lines = metrics(run, place)
        assert lines[0]["kl_k3"] < 1e-4 < lines[1]["kl_k3"], place
    # a saved prover is its adapter on the warm-started base: it must give the log-probs it was stored with
    config = run.config()
    adapter = load_file(run.path / "rounds/01/prover/adapter_model.safetensors")
    assert all("lora" in name for name in adapter)
    assert any(v.abs().max() > 0 for name, v in adapter.items() if "lora_B" in name)
    on_warm = Prover.load(
        config.prover.model_copy(update={"model": str(warm)}), "cpu", source=str(run.path / "rounds/01/prover")
    )
    on_raw = Prover.load(config.prover, "cpu", source=str(run.path / "rounds/01/prover"))
    packed = pack([[10, 11, 12]], [[[13, 14]]])
    assert not np.allclose(*(p.hidden_and_logits(packed)[1].detach().numpy() for p in (on_warm, on_raw)), atol=1e-3)


@pytest.mark.parametrize("kind", ["cgc", "goodhart"])
def test_other_rewards_and_every_other_switch(kind, tiny_config_file, tiny_overrides, tiny_verifier_dir, tmp_path):
    run = play_with(
        tiny_config_file,
        tiny_overrides,
        tmp_path / "run",
        f"reward={{kind: {kind}, scale: none, center: true, clip: 3, floor: -3}}",
        "verifier.loss=cross_entropy",
        "verifier.ensemble=2",
        "verifier.init=persist",
        "mixture={checkpoints: all, weights: pow2, balance: label}",
        "ppo.save_every=1",
        "ppo.steps=2",
        "compute.engine=hf",
        f"game.held_out_judge_model={tiny_verifier_dir}",
        "grading.unparsed=incorrect",
        "stop={rule: fooled, min_steps: 1}",
        "verifier.reference_solutions=true",
    )
    rows = ppo_rows(run, 0)
    assert "invalid" not in set(rows.verdict)
    assert training(run, "rounds/00/prover")["score_scale"] == 1.0
    for _, step in rows.groupby("step"):
        groups = list(zip(step.problem_id, step.role, strict=True))
        options = {"clip": 3, "floor": -3, "center": True} if kind == "cgc" else {"floor": -3}  # Goodhart is paid raw
        expected = rewards.REWARDS[kind](
            step.score.to_numpy(), list(step.verdict), step.role == "helpful", groups, **options
        )
        np.testing.assert_allclose(step.reward, expected, atol=1e-4)
    if training(run, "rounds/00/prover")["steps"] == 2:
        assert (run.path / "rounds/00/prover/step_00001/model.safetensors").is_file()
        collected = round_solutions(run, 0)
        assert set(collected[(collected.split == "verifier")].step) == {0, 1}
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["reward"] == kind
    roles = {"helpful"} if kind == "goodhart" else {"helpful", "sneaky"}
    assert set(rows.role) == roles, "a Goodhart game has no roles"
    assert set(rows.groupby("step").size()) == {2 * 4 * 4}
    assert set(round_solutions(run, 0).query("split == 'verifier'").role) == roles


def test_uncentred_cgc_with_a_running_scale_is_refused_before_anything_is_written(
    tiny_config_file, tiny_overrides, tmp_path
):
    config = load_config(tiny_config_file, [*tiny_overrides, "reward={kind: cgc, scale: running}"])
    with pytest.raises(UserError, match=r"reward.center to true, or reward.scale to calibrated"):
        train(config, tmp_path / "run", progress=quiet())
    assert not (tmp_path / "run").exists()


def test_a_game_without_the_correctness_arm_or_judge(tiny_config_file, tiny_overrides, tmp_path):
    run = play_with(
        tiny_config_file,
        tiny_overrides,
        tmp_path / "run",
        "game={rounds: 1, correctness_arm: false, held_out_judge: false}",
        "ppo.steps=1",
    )
    summary = json.loads((run.path / "summary.json").read_text())
    assert "correctness" not in summary["arms"]
    assert summary["legibility_tax"]["value"] is None and summary["retained_gain"]["value"] is None
    assert not (run.path / "arms").exists() and not (run.path / "judge").exists()


def test_a_run_from_before_the_judge_had_problems_of_its_own_goes_on(tiny_config_file, tiny_overrides, tmp_path):
    """Its problems.jsonl has four parts; the judge then learns from the verifiers' problems, as it did."""
    more = ("game={rounds: 1, correctness_arm: false}", "ppo.steps=1")
    old = play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *more, "problems.judge=0")
    text = (old.path / "config.yaml").read_text()
    (old.path / "config.yaml").write_text(text.replace("  judge: 0\n", ""))
    forget_hashes(old.path)
    for name in ("judge", "evaluation"):
        shutil.rmtree(old.path / name)
    (old.path / "summary.json").unlink()
    again = load_config(tiny_config_file, [*tiny_overrides, *more])
    assert again.problems.judge is None
    run = train(again, old.path, resume=True, progress=quiet())
    assert run.is_done("judge") and len(pd.read_json(run.path / "problems.jsonl", lines=True).split.unique()) == 4


@pytest.mark.slow  # tests/models/test_self_check.py finds such models in every run
def test_a_model_that_mixes_neighbours_plays_a_right_game(tiny_config_file, tiny_overrides, tiny_tokenizer, tmp_path):
    """LFM2 as prover and verifier: one notice each, then numbers as exact as any other model's."""
    config = Lfm2Config(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=48, block_multiple_of=8, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, layer_types=["conv", "full_attention"],
        bos_token_id=None, eos_token_id=tiny_tokenizer.eos_token_id, pad_token_id=tiny_tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = teach(Lfm2ForCausalLM(config), tiny_tokenizer)
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    said = io.StringIO()
    config = load_config(
        tiny_config_file,
        [*tiny_overrides, f"prover.model={tmp_path / 'model'}", f"verifier.model={tmp_path / 'model'}",
         "verifier.score=likelihood", "verifier.lm_weight=0.1", "ppo.critic=separate", "compute.workers=2",
         "game.rounds=1", "game.correctness_arm=false"],
    )  # fmt: skip
    run = train(config, tmp_path / "run", progress=Progress(Console(file=said, width=1000)))
    lines = [line for line in said.getvalue().splitlines() if "Lfm2ForCausalLM" in line]
    assert len(lines) == 3  # the prover's reading and its engine, the verifier's reading
    steps = metrics(run, "rounds/00/prover")
    assert len(steps) == 3 and max(m["logprob_gap"] for m in steps) < 1e-4 and abs(steps[0]["kl"]) < 1e-4
    verifier = Verifier.load(config.verifier, "cpu", source=str(run.path / "rounds/00/verifier"))
    rows = ppo_rows(run, 0).head(12)
    problems = read_problems(run.path / "problems.jsonl")
    alone = [verifier.score([problems[r.problem_id]], [r.text])[0] for r in rows.itertuples()]
    assert np.allclose(alone, rows.score, atol=1e-4)


def test_trackers_get_the_rounds_text_and_the_report(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    """And one that cannot start leaves no folder behind; with the cause gone the same command plays."""
    from accelerate import Accelerator
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    small = "game={rounds: 1, correctness_arm: false, held_out_judge: false, collection_samples: 4}"
    more = (small, "ppo.steps=1", "verifier.updates=2", "tracking.trackers=[tensorboard]", "tracking.completions=2")
    start, out = Accelerator.init_trackers, tmp_path / "run"

    def refuse(*_, **__):
        raise RuntimeError("no key")

    monkeypatch.setattr(Accelerator, "init_trackers", refuse)
    with pytest.raises(UserError, match="no key"):
        play_with(tiny_config_file, tiny_overrides, out, *more)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Accelerator, "init_trackers", start)
    run = play_with(tiny_config_file, tiny_overrides, out, *more)
    (file,) = (run.path / "trackers/legibility").glob("events*")
    events = EventAccumulator(str(file)).Reload()
    (text,) = events.Tensors("completions/text_summary")
    assert text.tensor_proto.string_val[0].decode().count("\n") == 1 + 2 * 2
    assert "report/tax" in events.Tags()["images"] and "round 0 prover/kl" in events.Tags()["scalars"]
    assert (run.path / "report.html").is_file()
    with pytest.raises(UserError, match="exists already"):
        play_with(tiny_config_file, tiny_overrides, out, *more)
    assert len(list((run.path / "trackers/legibility").glob("events*"))) == 1, "a refused run starts no tracker"
