"""A game whose networks two ranks hold in parts: the same text as one process, ordinary folders, and a resume."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time

import pytest
from safetensors.torch import load_file

from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions
from tests.support import legibility, metrics
from tests.test_launched_team import children, output, rank_of, torchrun

pytestmark = pytest.mark.slow


def play(config, overrides, out, *more, ranks=2, **options):
    return torchrun(
        ranks, "-m", "legibility", "train", config, *overrides, "compute.shard=true", *more, "--out", out, "--no-report",
        folder=out.parent, **options,
    )  # fmt: skip


def written(run: RunFolder, step: int):
    return read_solutions(run.path / "rounds/00/solutions.parquet").query(f"phase == 'ppo' and step == {step}")


def test_a_game_of_two_ranks_that_hold_parts(tiny_run, tiny_config_file, tiny_overrides, tmp_path):
    process = play(tiny_config_file, tiny_overrides, tmp_path / "run", "ppo.save_every=2")
    said = output(process)
    assert process.returncode == 0, said
    run = RunFolder(tmp_path / "run")
    base = [read_solutions(r.folder("base") / "solutions.parquet") for r in (tiny_run, run)]
    assert list(base[0].text) == list(base[1].text)
    assert len(written(run, 1)) and list(written(run, 1).text) == list(written(tiny_run, 1).text)
    whole, parts = (load_file(r.path / "rounds/00/prover/model.safetensors") for r in (tiny_run, run))
    assert whole.keys() == parts.keys() and "lm_head.weight" not in parts
    for name, weights in whole.items():  # after three steps at a learning rate of 1e-3
        assert (weights - parts[name]).abs().max() < 2e-5, name
    saved = next((run.path / "rounds/00/prover").glob("step_*/model.safetensors"))
    assert load_file(saved).keys() == parts.keys()


def test_a_killed_game_goes_on_to_the_same_bytes(tiny_config_file, tiny_overrides, tiny_prover_dir, tmp_path):
    """SIGKILL of a rank inside a prover phase, which has a checkpoint after every step; then the rest of the game."""
    overrides = [*tiny_overrides, "compute.checkpoint_every=1", "ppo.steps=6", "game.rounds=1"]
    whole = play(tiny_config_file, overrides, tmp_path / "whole")
    said = output(whole)
    assert whole.returncode == 0, said
    process = play(tiny_config_file, overrides, tmp_path / "killed")
    place = tmp_path / "killed/rounds/00/.prover.tmp/.checkpoints.tmp"
    try:
        until = time.monotonic() + 240
        while not (place / "step_00002").is_dir() and time.monotonic() < until:
            time.sleep(0.02)
        ranks = {rank_of(pid): pid for pid in children(process.pid)}
        os.kill(ranks["1"], signal.SIGKILL)
        assert process.wait(120) != 0
    finally:
        process.kill()
    step = max(int(found.name.removeprefix("step_")) for found in place.glob("step_*"))
    assert step < 6, "it was killed too late to tell anything"
    shutil.copytree(tmp_path / "killed", tmp_path / "three")
    process = play(tiny_config_file, overrides, tmp_path / "killed", "--resume")
    said = output(process)
    assert process.returncode == 0 and re.search(r"prover: resumed at step \d+", said), said
    for name in ("prover/model.safetensors", "prover/value_head.safetensors", "prover/critic/model.safetensors"):
        one, other = (tmp_path / run / "rounds/00" / name for run in ("whole", "killed"))
        assert one.is_file() == other.is_file()
        if one.is_file():
            assert one.read_bytes() == other.read_bytes(), name
    # by three ranks: the same text from the same weights, and afterwards what another order of sums makes
    process = play(tiny_config_file, overrides, tmp_path / "three", "--resume", ranks=3)
    said = output(process)
    assert process.returncode == 0 and f"prover: resumed at step {step + 1}" in said, said
    runs = [RunFolder(tmp_path / name) for name in ("whole", "three")]
    texts = [list(written(run, step + 1).text) for run in runs]
    assert texts[0] and texts[0] == texts[1]
    whole, three = (load_file(run.path / "rounds/00/prover/model.safetensors") for run in runs)
    start = load_file(tiny_prover_dir / "model.safetensors")
    moved = max((weights - start[name]).abs().max().item() for name, weights in whole.items())
    apart = max((weights - three[name]).abs().max().item() for name, weights in whole.items())
    assert 0 < apart < 0.01 * moved, (apart, moved)
    lines = [metrics(run, "rounds/00/prover") for run in runs]
    assert len(lines[0]) == len(lines[1]) == 6
    for ours, theirs in zip(*lines, strict=True):
        for key, value in ours.items():
            if isinstance(value, float):
                assert value == pytest.approx(theirs[key], rel=1e-3, abs=1e-3), key


def test_one_process_is_refused_in_a_line(tiny_config_file, tiny_overrides, tmp_path):
    found = legibility("train", tiny_config_file, *tiny_overrides, "compute.shard=true", "--out", tmp_path / "run")
    assert found.code == 2 and not (tmp_path / "run").exists()
    assert "compute.shard: weights are spread over ranks, and this is one process; start with torchrun" in found.err
