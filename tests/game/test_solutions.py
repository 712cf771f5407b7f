"""The completion store: a round's parts are merged once and checked when read."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import check_round, merge_round, read_solutions, round_solutions
from legibility.play import train
from tests.support import quiet


def test_merged_completions_are_checked_too(tiny_run, tmp_path):
    """The round's solutions.parquet replaces the parts whose hashes were recorded; damage must still show."""
    copy = tmp_path / "run"
    shutil.copytree(tiny_run.path, copy)
    file = copy / "rounds/00/solutions.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"solutions\.parquet"):
        round_solutions(RunFolder.existing(copy), 0)
    (copy / "rounds/00/solutions.sha256").unlink()
    with pytest.raises(UserError, match=r"solutions\.sha256: missing"):
        round_solutions(RunFolder.existing(copy), 0)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "sha256": None}))  # the oldest runs have no hashes
    shutil.copy(tiny_run.path / "rounds/00/solutions.parquet", file)
    assert len(round_solutions(RunFolder.existing(copy), 0))


def test_merging_twice_or_after_a_kill_in_between_changes_nothing(tiny_run, tmp_path):
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run.path, copy.path)
    whole = (copy.path / "rounds/00/solutions.parquet").read_bytes()
    merge_round(copy, 0)
    (copy.path / "rounds/00/prover/solutions.parquet").write_bytes(b"left over by a kill before the parts were dropped")
    merge_round(copy, 0)
    assert (copy.path / "rounds/00/solutions.parquet").read_bytes() == whole
    assert not (copy.path / "rounds/00/prover/solutions.parquet").exists()
    assert len(read_solutions(copy.path / "rounds/00/solutions.parquet")) == len(round_solutions(tiny_run, 0))


GONE = r"rounds/01/solutions\.parquet: missing; restore it from a copy, or delete \S+/rounds/01 and resume to play the round again$"


def test_a_file_that_is_gone_goes_by_its_own_name(tiny_run, tmp_path):
    """Not by that of the parts it was joined from, which no finished run has."""
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(tiny_run.path, copy.path)
    (copy.path / "rounds/01/solutions.parquet").unlink()
    for read in (round_solutions, merge_round, check_round):
        with pytest.raises(UserError, match=GONE):
            read(copy, 1)


def test_a_round_that_is_played_again_comes_out_the_same(tiny_run, tiny_config_file, tiny_overrides, tmp_path):
    """As the message about a file that is gone says."""
    run = tmp_path / "tiny"
    shutil.copytree(tiny_run.path, run)
    shutil.rmtree(run / "rounds/01")
    train(load_config(tiny_config_file, tiny_overrides), run, resume=True, progress=quiet())
    for name in ("solutions.parquet", "prover/model.safetensors", "verifier/model.safetensors"):
        assert (run / "rounds/01" / name).read_bytes() == (tiny_run.path / "rounds/01" / name).read_bytes()
