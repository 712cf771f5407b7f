"""Pools whose processes end with the one that made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legibility.errors import Interrupted, WorkerDied
from legibility.processes import fresh_processes

POOL = """
import sys, time
from tests.test_processes import nothing, write_and_sleep
from legibility.processes import fresh_processes
if __name__ == "__main__":
    with fresh_processes(1, nothing, ()) as processes:
        processes.submit(write_and_sleep, sys.argv[1]).result()
"""


def nothing() -> None:
    """No beginning."""


def write_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path: Path) -> int:
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def assert_ends(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.02)


def test_results_come_back():
    with fresh_processes(1, nothing, ()) as processes:
        assert processes.submit(pow, 2, 5).result() == 32


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_they_end_with_a_killed_parent(tmp_path):
    code, noted = tmp_path / "pool.py", tmp_path / "child"
    code.write_text(POOL)
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, str(code), str(noted)], env=environment) as parent:
        child = wait_for(noted)
        parent.send_signal(signal.SIGKILL)
    assert_ends(child)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_they_end_at_once_when_the_block_is_interrupted(tmp_path):
    started = time.monotonic()
    with pytest.raises(Interrupted), fresh_processes(1, nothing, ()) as processes:
        processes.submit(write_and_sleep, str(tmp_path / "child"))
        child = wait_for(tmp_path / "child")
        raise Interrupted(signal.SIGINT)
    assert_ends(child)
    assert time.monotonic() - started < 50


def test_one_that_was_killed_is_an_error_for_people():
    with pytest.raises(WorkerDied, match="is memory short"), fresh_processes(1, nothing, ()) as processes:
        processes.submit(die).result()
