"""The scripts that are commands: the same options, the same game, and commands to paste that exist."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from tests.support import ROOT, legibility, script


def run(name: str, *arguments: object, monkeypatch) -> int:
    """A script as `python scripts/NAME.py` runs it, in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", *map(str, arguments)])
    try:
        script(name).main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("name", ["train", "evaluate", "export"])
def test_the_options_are_those_of_the_command(name, monkeypatch, capsys):
    assert run(name, "-h", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    told = legibility(name, "-h").out
    assert f"-m legibility {name} " in shown and shown.split("Arguments")[1] == told.split("Arguments")[1]


def test_a_game_played_by_the_script_goes_on_with_the_command_that_it_names(
    tiny_overrides, tmp_path, monkeypatch, capsys
):
    (tmp_path / "my game.yaml").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    assert run("train", "my game.yaml", *tiny_overrides, "game.rounds=1", "--no-report", monkeypatch=monkeypatch) == 0
    command = shlex.split(json.loads((tmp_path / "runs/my game/manifest.json").read_text())["command"])
    assert command[1:5] == ["-m", "legibility", "train", "my game.yaml"]
    done = subprocess.run(
        [sys.executable, *command[1:], "--resume"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "finished" in done.stdout + done.stderr


def test_torchrun_starts_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", ROOT / "scripts/train.py", "none-such"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "error: none-such: no such file" in done.stderr and "exitcode  : 2" in done.stderr
