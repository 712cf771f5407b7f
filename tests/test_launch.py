"""Where a process stands among the ranks of a launcher, read from the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from legibility import launch as launch_module
from legibility.errors import UserError
from legibility.launch import Launch, hide_launcher, launch
from legibility.pasted import own_command
from tests.support import ROOT

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "somewhere",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def started(monkeypatch):
    """Pretend that the process was just started with these variables."""

    def start(**environment: str) -> None:
        for name in (*TORCHRUN, "ACCELERATE_USE_CPU"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(launch_module, "_looked", False)
        monkeypatch.setattr(launch_module, "_found", None)

    return start


def test_alone(started):
    started()
    assert launch() is None
    started(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    assert launch() is None, "one rank is one process"


def test_a_rank_of_several_machines(started):
    started(**TORCHRUN)
    assert launch() == Launch(rank=3, size=4, local_rank=1, local_size=2)


def test_it_is_known_after_the_variables_are_gone(started):
    started(**TORCHRUN, ACCELERATE_USE_CPU="true")
    place = launch()
    hide_launcher()
    assert launch() == place
    assert not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU"} & set(
        os.environ
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"RANK": "first"}, {"WORLD_SIZE": "many"}, {"RANK": "4"}, {"RANK": "-1"},
        {"MASTER_ADDR": ""}, {"MASTER_PORT": "x"}, {"MASTER_PORT": "65536"},
    ],
)  # fmt: skip
def test_variables_that_are_none(wrong, started):
    started(**{**TORCHRUN, **wrong})
    with pytest.raises(UserError, match="start with torchrun, or unset"):
        launch()


def test_half_of_a_launchers_variables_is_a_line(tmp_path):
    """Set by hand, or by a scheduler that is no launcher: exit code 2, no traceback, nobody waits."""
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "x", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "legibility", "train", "nano"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and not ended.stdout, ended.stderr
    assert ended.stderr.startswith("error: MASTER_ADDR, MASTER_PORT: no place to meet rank 0 at")


def test_a_command_shown_to_people_starts_as_many_ranks(started, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/legibility/__main__.py", "train", "nano"])
    started(**{**TORCHRUN, "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"})
    assert own_command("train", "nano") == "torchrun --nproc-per-node 2 -m legibility train nano"
    started()
    assert "torchrun" not in own_command("train", "nano")
