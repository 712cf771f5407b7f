"""The prover phase: what each one starts from, draws and is paid, read off finished tiny games."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from legibility import rewards
from legibility.game.phases import STEPS
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, round_solutions
from legibility.models.verifier import Verifier
from legibility.problems.storage import read_problems
from tests.support import metrics, play_with, ppo_rows, training

PROVERS = ("rounds/00/prover", "rounds/01/prover", "arms/correctness/prover")


@pytest.mark.parametrize("place", PROVERS)
def test_every_phase_starts_at_the_base_policy(tiny_run, place):
    """Re-initialised every round and in the correctness arm: the first batch is the reference's own text."""
    lines = metrics(tiny_run, place)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert abs(lines[0]["kl"]) < 1e-4 and lines[0]["kl_k3"] < 1e-4
    assert lines[2]["kl_k3"] > 1e-4
    for line in lines:
        assert line["first_ratio_gap"] < 1e-4 and line["logprob_gap"] < 1e-3


def test_phases_end_in_different_weights(tiny_run, tiny_prover_dir):
    weights = [load_file(tiny_run.path / p / "model.safetensors") for p in PROVERS] + [
        load_file(tiny_prover_dir / "model.safetensors")
    ]
    name = "model.layers.0.mlp.up_proj.weight"
    for i, one in enumerate(weights):
        for other in weights[i + 1 :]:
            assert not np.array_equal(one[name].numpy(), other[name].numpy())
    assert not np.array_equal(
        *(load_file(tiny_run.path / f"rounds/0{r}/verifier/model.safetensors")["score.weight"].numpy() for r in (0, 1))
    )


@pytest.mark.parametrize("index", [0, 1])
def test_every_problem_of_a_step_is_answered_in_both_roles(tiny_run, index):
    rows = ppo_rows(tiny_run, index)
    counts = rows.groupby(["step", "problem_id", "role"]).size()
    assert (counts == 4).all()
    assert len(counts) == 3 * 4 * 2  # steps, problems, roles
    assert rows.groupby(["step", "role"]).problem_id.nunique().eq(4).all()
    assert rows.groupby("step").problem_id.apply(frozenset).nunique() == 3


def test_the_correctness_arm_sees_as_many_completions_all_helpful(tiny_run):
    rows = pd.read_parquet(tiny_run.path / "arms/correctness/prover/solutions.parquet")
    rows = rows[rows.phase == "ppo"]
    assert set(rows.role) == {"helpful"} and rows.score.isna().all()
    assert rows.groupby("step").size().tolist() == ppo_rows(tiny_run, 0).groupby("step").size().tolist()
    assert ((rows.reward == 1) == (rows.verdict == "correct")).all() and set(rows.reward) == {1.0, -1.0}
    assert training(tiny_run, "arms/correctness/prover")["steps"] == training(tiny_run, "rounds/01/prover")["steps"]


@pytest.mark.parametrize("index", [0, 1])
def test_rewards_are_the_formula_on_the_stored_scores(tiny_run, index):
    """Raw scores are stored; SRC is paid on them divided by the spread of the round's first batch."""
    rows = ppo_rows(tiny_run, index)
    first = rows[rows.step == 1]
    scale = training(tiny_run, f"rounds/0{index}/prover")["score_scale"]
    deviations = first.groupby(["problem_id", "role"]).score.std(ddof=0)
    assert scale == pytest.approx(deviations.mean(), rel=1e-4)
    for _, step in rows.groupby("step"):
        groups = list(zip(step.problem_id, step.role, strict=True))
        expected = rewards.src(step.score.to_numpy(), list(step.verdict), step.role == "helpful", groups, scale=scale)
        np.testing.assert_allclose(step.reward, expected, atol=1e-4)


def test_stored_scores_are_those_of_the_rounds_verifier(tiny_run):
    problems = read_problems(tiny_run.path / "problems.jsonl")
    for index in (0, 1):
        verifier = Verifier.load(
            tiny_run.config().verifier, "cpu", source=str(tiny_run.path / f"rounds/0{index}/verifier")
        )
        rows = round_solutions(tiny_run, index)
        rows = rows[rows.score.notna()]
        np.testing.assert_allclose(
            verifier.score([problems[p] for p in rows.problem_id], list(rows.text)), rows.score, atol=1e-4
        )


def test_logged_cells_are_those_of_the_stored_batch(tiny_run):
    rows = ppo_rows(tiny_run, 0)
    for line in metrics(tiny_run, "rounds/00/prover"):
        batch = rows[rows.step == line["step"]]
        for role in ("helpful", "sneaky"):
            mine = batch[batch.role == role]
            assert line[f"accuracy_{role}"] == pytest.approx((mine.verdict == "correct").mean())
            assert line[f"invalid_{role}"] == pytest.approx((mine.verdict == "invalid").mean())
            assert line[f"texts_{role}"] == len(mine)
            for label in ("correct", "incorrect"):
                cell = mine[mine.verdict == label].score
                assert line[f"texts_{role}_{label}"] == len(cell)
                assert line[f"score_{role}_{label}"] == (pytest.approx(cell.mean(), abs=1e-5) if len(cell) else None)
        assert line["reward"] == pytest.approx(batch.reward.mean(), abs=1e-5)


def test_a_fooled_verifier_ends_the_round(tiny_config_file, tiny_overrides, tmp_path):
    """An untrained verifier is fooled at once if sneaky text need not be wrong."""
    run = play_with(
        tiny_config_file,
        tiny_overrides,
        tmp_path / "run",
        "stop={rule: fooled, min_steps: 2, min_samples: 1, sneaky_accuracy: 1.0, ema: 1.0}",
        "ppo.steps=12",
        "game.rounds=1",
        "verifier.updates=1",
    )
    lines, done = metrics(run, "rounds/00/prover"), training(run, "rounds/00/prover")
    gaps = [
        line["score_helpful_correct"] - line["score_sneaky_incorrect"]
        for line in lines
        if None not in (line["score_helpful_correct"], line["score_sneaky_incorrect"])
    ]
    assert min(gaps) <= 0 and done["steps_to_exploit"] is not None
    assert 2 <= done["steps_to_exploit"] == done["steps"] == len(lines) < 12
    assert training(run, "arms/correctness/prover")["steps"] == done["steps"]  # equal steps for the tax


def test_whoever_watches_finds_every_step_as_it_ends(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    """Completions and metrics of the steps so far while the phase is under way; neither step files nor a row too many after."""
    from legibility.progress import Progress
    from legibility.viewing.curves import curves
    from legibility.viewing.run_files import completion_files, under_way

    run, seen = tmp_path / "run", []

    def step(self, number, shown, tracked=None):
        if [p.phase for p in under_way(run)] == ["rounds/00/prover"]:
            (curve,) = [c for c in curves(RunFolder(run)) if c.live]
            seen.append((number, curve.steps, [len(read_solutions(f.path)) for f in completion_files(run) if f.live]))

    monkeypatch.setattr(Progress, "step", step)
    made = play_with(tiny_config_file, tiny_overrides, run, "game.rounds=1", "ppo.steps=2")
    assert seen == [(1, [1], [32]), (2, [1, 2], [32, 32])]
    assert len(ppo_rows(made, 0)) == 64 and not list(run.rglob(STEPS))
