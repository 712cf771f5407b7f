"""Whole short games whose provers TRL trains: in one process and by two ranks, gone on with, and stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

pytest.importorskip("trl")

from accelerate.state import PartialState

from legibility.checkpoint_files import newest_step
from legibility.config import Config
from legibility.config_file import load_config
from legibility.errors import GateClosed, Interrupted, UserError
from legibility.evaluation import short_arm
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import SHORT
from legibility.game.rollout_columns import Rollouts, verifier_rewards
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import Solution, round_solutions
from legibility.integrations.trl import TrlTrainer
from legibility.models.verifier import Verifier
from legibility.play import train
from legibility.problems.storage import read_problems
from legibility.rewards import ScoreScale
from tests.game.test_phase_checkpoints import content, interrupted, stop_at  # noqa: F401  # a fixture
from tests.support import legibility, metrics, play_with, quiet
from tests.test_launched_team import children, output, rank_of, torchrun
from tests.viewing.world import get, viewing

SMALL = ("game.correctness_arm=false", "game.held_out_judge=false", "reward.scale=running")
FIRST = "rounds/00/prover"


@pytest.fixture(scope="module")
def games(tiny_config_file, tiny_overrides, tmp_path_factory):
    """A finished game of two rounds by each of TRL's trainers."""
    folder = tmp_path_factory.mktemp("trl")
    return {
        "grpo": play_with(tiny_config_file, tiny_overrides, folder / "grpo", *SMALL, "prover.trainer=grpo", "ppo.epochs=2"),
        "rloo": play_with(
            tiny_config_file, tiny_overrides, folder / "rloo", "prover.trainer=rloo", "game.held_out_judge=false",
            "game.rounds=1", "ppo.micro_batch_size=8",
        ),
    }  # fmt: skip


def steps_of(run: RunFolder, index: int = 0) -> dict[int, list[Solution]]:
    """A round's training text by step, as the game had it."""
    rows = round_solutions(run, index)
    rows = rows[rows.phase == "ppo"].astype(object).where(lambda r: r.notna(), None)
    found: dict[int, list[Solution]] = {}
    for row in rows.to_dict("records"):
        found.setdefault(row["step"], []).append(Solution(**row))
    return found


def check_rewards(run: RunFolder, config: Config) -> None:
    """Every stored reward is that of its whole step, with the scale of the steps so far: no group was split."""
    scale = ScoreScale(config.reward.scale)
    lines = metrics(run, FIRST)
    steps = steps_of(run)
    assert sorted(steps) == [line["step"] for line in lines]
    for step, rows in steps.items():
        rollouts = Rollouts.of(rows)
        now = scale.update(rollouts.scores, rollouts.group, first=step == 1)
        assert lines[step - 1]["score_scale"] == pytest.approx(now, rel=1e-5)
        paid = verifier_rewards(config.reward, rollouts, now)
        assert [r.reward for r in rows] == pytest.approx(paid.tolist(), abs=1e-4)
        assert np.ptp(paid) > 0


@pytest.mark.parametrize("trainer", ["grpo", "rloo"])
def test_every_group_is_whole_and_paid_by_the_games_own_rewards(games, trainer):
    run = games[trainer]
    check_rewards(run, run.config())
    for rows in steps_of(run).values():
        groups: dict[tuple[str, str], list[int]] = {}
        for row in rows:
            groups.setdefault((row.problem_id, row.role), []).append(row.sample)
        assert len(groups) == 8 and all(samples == [0, 1, 2, 3] for samples in groups.values())


def test_the_verifier_scored_what_is_stored(games):
    run = games["grpo"]
    verifier = Verifier.load(run.config().verifier, "cpu", source=str(run.folder("rounds/00/verifier")))
    problems, rows = read_problems(run.problems_file), steps_of(run)[1]
    scores = verifier.score([problems[r.problem_id] for r in rows], [r.text for r in rows])
    assert scores == pytest.approx([r.score for r in rows], abs=1e-4)


@pytest.mark.parametrize("trainer", ["grpo", "rloo"])
def test_the_prover_learns_from_where_it_began(games, tiny_prover_dir, trainer):
    lines = metrics(games[trainer], FIRST)
    assert [line["step"] for line in lines] == [1, 2, 3]
    if trainer == "rloo":  # taken before the update, where the policy is its reference
        assert abs(lines[0]["kl"]) < 1e-4
    assert abs(lines[2]["kl"]) > 1e-4 and all(line["grad_norm"] > 0 and line["entropy"] > 0 for line in lines)
    before, after = (load_file(f / "model.safetensors") for f in (tiny_prover_dir, games[trainer].folder(FIRST)))
    moved = max(float((after[name] - before[name]).abs().max()) for name in after)
    assert 1e-4 < moved < 0.1  # 6 or 12 updates at 1e-3
    was, now = (json.loads((f / "config.json").read_text()) for f in (tiny_prover_dir, games[trainer].folder(FIRST)))
    assert now.get("use_cache") == was.get("use_cache") and now.get("pad_token_id") == was.get("pad_token_id")


def test_it_sees_the_problems_that_ppo_would_see(games, tiny_run):
    seen = [
        rows[(rows.phase == "ppo") & (rows.step == 2)].problem_id.drop_duplicates().tolist()
        for rows in (round_solutions(run, 0) for run in (games["grpo"], tiny_run))
    ]
    assert seen[0] == seen[1] and len(seen[0]) == 4


def test_the_game_goes_on_with_the_prover(games, tmp_path):
    """Collection, the next round, the correctness-only arm, evaluation, report and comparison read what TRL has made."""
    run = games["grpo"]
    assert (run.folder("rounds/01/collection") / "DONE").is_file() and len(metrics(run, "rounds/01/prover")) == 3
    arm = metrics(games["rloo"], "arms/correctness/prover")
    assert len(arm) == 3 and all(line["score_helpful_correct"] is None for line in arm)
    copy = tmp_path / "run"
    shutil.copytree(games["rloo"].path, copy)
    done = legibility("evaluate", copy, "--quick")
    assert done.code == 0, done.err
    assert (copy / "report.html").is_file()
    short_arm.train(EvaluationRun(copy))  # the control of the correctness-only arm is trained as that arm was
    made = pd.read_parquet(copy / SHORT / "solutions.parquet")
    made, limit = made[made.phase == "ppo"], run.config().sampling.max_new_tokens
    expected = (made.verdict == "correct") * 2 - 1 - made.completion_tokens / limit
    assert len(made) and made.reward.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
    assert all("value_loss" not in line for line in metrics(RunFolder(copy), SHORT))


def test_view_shows_the_text_and_the_curves(games):
    """Every step's completions with what the verifier paid them by, and curves of what TRL measures; none of a critic."""
    run = games["grpo"]
    with viewing(run.path) as url:
        status, found = get(url, "completions", phase="ppo", round=0, sort="fooled")
        assert status == 200 and found["total"] == 3 * 32
        first = found["rows"][0]
        assert first["writer"].startswith("round 0 ") and first["logprob_gap"] is None
        status, item = get(url, "item", id=first["id"])
        own = next(judge for judge in item["judges"] if judge["own"])
        assert status == 200 and own["judge"] == "verifier 0" and own["score"] == first["score"]
        assert len(item["siblings"]) == 3, "the other samples of its group"
        status, shown = get(url, "curves", run=run.path.name, metric=["kl", "value_loss"])
    (curve,) = [c for c in shown["curves"] if c["phase"] == FIRST]
    assert curve["steps"] == [1, 2, 3]
    assert curve["metrics"]["kl"] == pytest.approx([line["kl"] for line in metrics(run, FIRST)])
    assert "kl" in shown["names"]["prover"] and "value_loss" not in shown["names"]["prover"]


def test_it_is_compared_with_a_game_of_ppo(games, tiny_run, tmp_path):
    """Groups that differ in their trainer, with every round's numbers."""
    done = legibility("compare", tiny_run.path, games["grpo"].path, "--out", tmp_path / "compared")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "compared/compare.json").read_text())
    assert {"name": "prover.trainer", "values": ["ppo", "grpo"]} in found["settings"]
    for group, run in zip(found["groups"], (tiny_run, games["grpo"]), strict=True):
        figures = {f["name"]: f["mean"] for f in group["seeds"]["figures"] if f["round"] in (None, 1)}
        test = round_solutions(run, 1).query("phase == 'collection' and split == 'test' and role == 'helpful'")
        assert figures["helpful_accuracy"] == pytest.approx((test.verdict == "correct").mean())
    assert "grpo" in (tmp_path / "compared/compare.html").read_text()


def test_nothing_is_left_behind(games):
    assert not PartialState._shared_state and not [t for t in threading.enumerate() if t.name == "trl"]


# ---------------------------------------------------------------- checkpoints, and ends that come early


@pytest.mark.parametrize(
    "lora", [[], pytest.param(["prover.lora={r: 2}"], marks=pytest.mark.slow)], ids=["whole", "LoRA"]
)
def test_a_stopped_phase_comes_out_the_same(tiny_config_file, tiny_overrides, stop_at, tmp_path, lora):  # noqa: F811
    """Stopped in the update of step 3 of 4: weights, optimizer, running scale and reference are those of step 2."""
    settings = [*SMALL, "game.rounds=1", "ppo.steps=4", f"prover.trainer={'grpo' if lora else 'rloo'}", *lora]

    def play(path, every):
        config = load_config(tiny_config_file, [*tiny_overrides, *settings, f"compute.checkpoint_every={every}"])
        return train(config, path, resume=True, progress=quiet())

    reference = play(tmp_path / "reference", "null")
    stop_at(TrlTrainer, "step", 3, interrupted)
    with pytest.raises(Interrupted) as stopped:
        play(tmp_path / "run", 1)
    assert stopped.value.step == 2
    assert not [t for t in threading.enumerate() if t.name == "trl"]
    run = play(tmp_path / "run", 1)
    assert content(run.folder(FIRST)) == content(reference.folder(FIRST))
    assert (run.path / "rounds/00/solutions.parquet").read_bytes() == (
        reference.path / "rounds/00/solutions.parquet"
    ).read_bytes()
    check_rewards(run, run.config())


def test_a_closed_gate_ends_the_trainer(tiny_config_file, tiny_overrides, tmp_path):
    settings = [*SMALL, "game.rounds=1", "prover.trainer=grpo", "gates={enabled: true, min_score_std: 0, min_auroc: 0, "
                "accept_rate: [0, 1], min_helpful_accuracy: 0, max_flat_groups: 0}", "reward={kind: cgc, center: true, clip: 1.0e-9, floor: 0}"]  # fmt: skip
    with pytest.raises(GateClosed, match="first batch"):
        play_with(tiny_config_file, tiny_overrides, tmp_path / "run", *settings)
    assert not [t for t in threading.enumerate() if t.name == "trl"] and not PartialState._shared_state


def test_the_stop_rule_ends_the_phase(tiny_config_file, tiny_overrides, tmp_path):
    settings = ["stop={rule: fooled, min_steps: 0, min_samples: 1, sneaky_accuracy: 1, ema: 1}", "ppo.steps=6"]
    run = play_with(
        tiny_config_file, tiny_overrides, tmp_path / "run", *SMALL, "game.rounds=1", "prover.trainer=rloo", *settings
    )
    facts = json.loads((run.folder(FIRST) / "training.json").read_text())
    assert facts["stopped"] == "the sneaky role fools the verifier" and facts["steps"] == len(metrics(run, FIRST)) < 6


def test_divergence_is_told_as_ever(tiny_config_file, tiny_overrides, tmp_path):
    with pytest.raises(UserError, match=r"round 0 prover, step \d: .*training has diverged; lower ppo\.learning_rate"):
        play_with(
            tiny_config_file, tiny_overrides, tmp_path / "run", *SMALL, "game.rounds=1", "prover.trainer=grpo",
            "ppo.learning_rate=1e38",
        )  # fmt: skip


def test_settings_that_do_not_go_with_it_leave_nothing_behind(tiny_config_file, tiny_overrides, tmp_path):
    done = legibility(
        "train",
        tiny_config_file,
        *tiny_overrides,
        "prover.trainer=grpo",
        "ppo.critic=separate",
        "--out",
        tmp_path / "run",
    )
    assert done.code == 2 and done.err.count("\n") == 1 and "ppo.critic: prover.trainer grpo has no critic" in done.err
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- ranks


def test_a_game_of_two_ranks(tiny_config_file, tiny_overrides, tmp_path):
    """An update of 24 gives each rank 12 completions, so 3 groups of 4; one of 8 splits every group. Rewards are whole groups' all the same."""
    settings = [*SMALL, "game.rounds=1", "ppo.steps=2", "prover.trainer=rloo", "ppo.problems_per_step=3"]
    process = torchrun(
        2, "-m", "legibility", "train", tiny_config_file, *tiny_overrides, *settings, "ppo.minibatch_size=24",
        "ppo.micro_batch_size=12", "--out", tmp_path / "run", "--no-report", folder=tmp_path,
    )  # fmt: skip
    said = output(process)
    assert process.returncode == 0, said
    assert said.count("✓ round 0 collection") == 1 and "Warning" not in said and "[transformers]" not in said, said
    run = RunFolder(tmp_path / "run")
    assert run.manifest().ranks == 2
    check_rewards(run, run.config())
    first, second = metrics(run, FIRST)
    assert abs(first["kl"]) < 1e-4 < abs(second["kl"]), "on both ranks the reference is where the policy began"
    texts = [row.text for row in steps_of(run)[1]]
    assert texts[:12] != texts[12:], "ranks draw different numbers"


@pytest.mark.slow
def test_a_killed_rank_ends_the_game_within_seconds(tiny_config_file, tiny_overrides, tmp_path):
    """Wherever in TRL the others are; and the step before is kept."""
    settings = [*SMALL, "game.rounds=1", "ppo.steps=500", "prover.trainer=grpo", "compute.checkpoint_every=1"]
    process = torchrun(
        2, "-m", "legibility", "train", tiny_config_file, *tiny_overrides, *settings, "--out", tmp_path / "run",
        folder=tmp_path,
    )  # fmt: skip
    log = tmp_path / "run/rounds/00/.prover.tmp/metrics.jsonl"
    try:
        until = time.monotonic() + 200
        while not (log.is_file() and log.read_text().count("\n") > 2) and time.monotonic() < until:
            time.sleep(0.1)
        os.kill({rank_of(pid): pid for pid in children(process.pid)}["1"], signal.SIGKILL)
        began = time.monotonic()
        said = output(process, timeout=60)
        assert time.monotonic() - began < 30
    finally:
        process.kill()
    assert said.count("rank ended early") == 1 and process.returncode != 0, said
    assert newest_step(log.parent) is not None


@pytest.mark.slow
def test_two_ranks_go_on_where_one_was_killed(tiny_config_file, tiny_overrides, tmp_path):
    """Byte for byte the phase that nobody killed; alone, with text of its own, to the end."""
    settings = [
        *tiny_overrides,
        *SMALL,
        "game.rounds=1",
        "ppo.steps=8",
        "prover.trainer=rloo",
        "compute.checkpoint_every=1",
    ]

    def play(run, ranks=2):
        more = ["--resume"] if run.exists() else []
        arguments = ["train", tiny_config_file, *settings, "--out", run, "--no-report", *more]
        return torchrun(ranks, "-m", "legibility", *arguments, folder=tmp_path)

    finished = {}
    for name in ("reference", "killed", "alone"):
        run, work = tmp_path / name, tmp_path / name / "rounds/00/.prover.tmp"
        if name == "alone":
            shutil.copytree(tmp_path / "half", run)
        if name == "killed":
            process, until = play(run), time.monotonic() + 200
            while (newest_step(work) or 0) < 3:
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.01)
            os.kill({rank_of(pid): pid for pid in children(process.pid)}["1"], signal.SIGKILL)
            assert output(process).count("rank ended early") == 1 and process.returncode != 0
            shutil.copytree(run, tmp_path / "half")
            assert 3 <= (newest_step(work) or 0) < 8
        process = play(run, 1 if name == "alone" else 2)
        said = output(process)
        assert process.returncode == 0 and ("resumed at step" in said) == (name != "reference"), said
        finished[name] = RunFolder(run)
        check_rewards(finished[name], finished[name].config())
    phases = {name: content(run.folder(FIRST)) for name, run in finished.items()}
    assert phases["killed"] == phases["reference"]
    assert phases["alone"].keys() == phases["reference"].keys() and phases["alone"] != phases["reference"]
    assert len(metrics(finished["alone"], FIRST)) == 8
