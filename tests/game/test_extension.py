"""More rounds for a run: those that are there stay, those to come are a longer game's, nothing old stands among the new."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.evaluation.summary_schema import read_summary
from legibility.game import extension
from legibility.game.condition import CORRECTNESS
from legibility.game.phases import arm_prover
from legibility.game.run_folder import RunFolder
from legibility.play import train
from tests.game.test_resume import results
from tests.support import legibility, quiet


@pytest.fixture(scope="module")
def short_run(tiny_config_file, tiny_overrides, tmp_path_factory) -> Path:
    """The tiny game with one round. Read only."""
    config = load_config(tiny_config_file, [*tiny_overrides, "game.rounds=1"])
    return train(config, tmp_path_factory.mktemp("short") / "tiny", progress=quiet()).path


@pytest.fixture
def copied(short_run, tmp_path) -> Path:
    return shutil.copytree(short_run, tmp_path / "tiny")


def test_a_longer_game_is_the_one_that_was_played_at_once(
    copied, short_run, tiny_run, tiny_config_file, tiny_overrides, monkeypatch
):
    """Killed while it moves things aside, and again behind it: two rounds instead of one, as in a game of two."""
    (copied / "report.html").write_text("old")
    (copied / "human.json").write_text("{}")
    (copied / "evaluation/matrix.json").write_text("[]")
    (copied / "evaluation/pools").mkdir()
    for arm in ("game_00", "init", "alone", "tandem_00"):
        (copied / "evaluation/handoff" / arm).mkdir(parents=True)
    command = ("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume", "--no-report")
    move = extension._move
    monkeypatch.setattr(extension, "_move", lambda *paths: (move(*paths), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        legibility(*command)
    monkeypatch.undo()
    monkeypatch.setattr(RunFolder, "_write_settings", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        legibility(*command)
    monkeypatch.undo()
    result = legibility(*command)
    assert result.code == 0, result
    assert "game.rounds 1 -> 2: what told" in result.out and "earlier/rounds_01" in result.out

    got, expected = results(copied), results(tiny_run.path)
    own = {name for name in got if name.startswith("earlier/")}
    assert set(got) - own == set(expected)
    assert [name for name in expected if got[name] != expected[name]] == []
    run = RunFolder(copied)
    ((rounds, typed),) = run.manifest().extensions
    assert rounds == 1 and shlex.split(typed) == ["legibility", *map(str, command)]
    assert "config.yaml" in (run.manifest().sha256 or {})
    assert run.finished_phases() and not any(p.startswith("earlier/") for p in run.finished_phases())

    old = copied / "earlier/rounds_01"
    assert (old / "summary.json").read_bytes() == (short_run / "summary.json").read_bytes()
    assert {"report.html", "human.json", "evaluation/matrix.json", "arms/correctness/collection/DONE"} <= {
        str(p.relative_to(old)) for p in old.rglob("*") if p.is_file()
    }
    assert not (old / arm_prover(CORRECTNESS)).exists()  # as many steps as before: the same prover
    stayed = {p.name for p in (copied / "evaluation/handoff").iterdir()}
    assert stayed == {"game_00", "init", "alone"} and (old / "evaluation/handoff/tandem_00").is_dir()
    assert (copied / "evaluation/pools").is_dir() and not (copied / "human.json").exists()
    assert read_summary(copied / "summary.json").evaluation is None
    assert "nothing to do" in legibility(*command).out


@pytest.mark.parametrize("written", [False, True])
def test_a_kill_at_any_write_leaves_a_folder_that_is_read_and_gone_on_with(
    copied, tmp_path, tiny_config_file, tiny_overrides, monkeypatch, written
):
    """Killed in front of each write and each move, or behind it: settings are always read, always hashed, and it goes on."""
    longer = load_config(tiny_config_file, [*tiny_overrides, "game.rounds=2"])

    def more_rounds(out: Path) -> dict:
        begun = extension.begun_with(out, longer)
        with RunFolder.open(out, begun, resume=True) as run:
            if begun != longer:
                extension.extend(run, begun.game.rounds, longer)
        return json.loads((out / "manifest.json").read_text())

    whole = more_rounds(shutil.copytree(copied, tmp_path / "whole"))
    assert "coming" not in whole and whole["extended"] == [1]
    for kill in range(100):
        out = shutil.copytree(copied, tmp_path / f"{kill}")
        made = 0

        def replace(source, target, real=os.replace, last=kill):
            nonlocal made
            made += 1
            if made <= last or written:
                real(source, target)
            if made > last:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", replace)
        try:
            more_rounds(out)
            break
        except KeyboardInterrupt:
            pass
        finally:
            monkeypatch.undo()
        run = RunFolder.existing(out)
        assert run.config().game.rounds in (1, 2) and "config.yaml" in run.manifest().sha256
        assert more_rounds(out) == whole and run.config() == longer
        assert sorted(p.name for p in (out / "earlier/rounds_01").iterdir())
    assert kill > 4  # moves, and three writes


def test_a_manifest_that_lost_the_hash_gets_it_again(copied):
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["sha256"]["config.yaml"]
    (copied / "manifest.json").write_text(json.dumps({**manifest, "extended": [1]}))
    with RunFolder.writing(copied) as run:
        assert "config.yaml" in run.manifest().sha256


def test_a_correctness_prover_of_other_steps_is_not_brought_back(copied):
    run, config = RunFolder(copied), RunFolder(copied).config()
    longer = config.model_copy(update={"game": config.game.model_copy(update={"rounds": 3})})
    extension.extend(run, 1, longer)
    assert run.config().game.rounds == 3
    extension.bring_back_arm(run, steps=99)
    assert not run.is_done(arm_prover(CORRECTNESS))
    extension.bring_back_arm(run, steps=3)
    assert run.verified(arm_prover(CORRECTNESS))


def test_what_would_have_been_another_game_is_refused(copied, tiny_config_file, tiny_overrides):
    before = sorted(copied.rglob("*"))
    stored = json.loads((copied / "manifest.json").read_text())
    command = ("train", tiny_config_file, *tiny_overrides, "--out", copied, "--resume")
    for change, part in (
        (["game.rounds=0"], "game.rounds"),
        (["game.rounds=3", "seed=1"], "settings changed since the run began (game.rounds: 1 -> 3, seed: 0 -> 1)"),
    ):
        result = legibility(*command, *change)
        assert result.code == 2 and part in result.err and result.err.count("\n") == 1, result
    assert sorted(copied.rglob("*")) == before and json.loads((copied / "manifest.json").read_text()) == stored


def test_rounds_can_be_added_and_not_taken_away(tiny_run, tiny_config_file, tiny_overrides):
    config = load_config(tiny_config_file, [*tiny_overrides, "game.rounds=1"])
    with pytest.raises(UserError, match="a run of 2 rounds can have more, not 1"):
        extension.begun_with(tiny_run.path, config)


def test_text_that_a_longer_game_would_have_collected_otherwise_is_named(
    tiny_run, tmp_path, tiny_overrides, tiny_config_file
):
    """nano's own settings: two rounds collect little of the last one, three collect more; four of nano's may become more."""
    sizes = ["game.collection_by_share=true", "game.collection_samples=8", "game.collection_samples_sneaky=8"]
    copied = shutil.copytree(tiny_run.path, tmp_path / "tiny")
    (copied / "manifest.json").write_text(
        json.dumps({**json.loads((copied / "manifest.json").read_text()), "sha256": {}})
    )
    begun = load_config(tiny_config_file, [*tiny_overrides, *sizes])
    (copied / "config.yaml").write_text(json.dumps(begun.model_dump(mode="json")))
    longer = load_config(tiny_config_file, [*tiny_overrides, *sizes, "game.rounds=3"])
    with pytest.raises(UserError, match="round 1 collected 2 helpful completions a problem and would have collected 6"):
        extension.begun_with(copied, longer)
    nano, six = load_config("nano"), load_config("nano", ["game.rounds=6"])
    assert all(extension.collection_sizes(nano, i) == extension.collection_sizes(six, i) for i in range(4))
