"""One writer a folder, between processes; the lock ends with its holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from legibility.errors import UserError
from legibility.folder_lock import LOCK, FolderLock
from tests.support import holder


def test_another_process_is_refused_with_the_holders_number(tmp_path):
    with holder(tmp_path) as process:
        with pytest.raises(UserError, match=rf"process {process.pid} on .* is at work in this folder"):
            FolderLock(tmp_path)
        process.kill()
    FolderLock(tmp_path).release()


def test_the_lock_ends_with_a_killed_holder_though_its_child_lives(tmp_path):
    child = tmp_path / "child"
    with holder(tmp_path, child) as process:
        while not child.exists() or not child.read_text():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        try:
            os.kill(int(child.read_text()), 0)  # it lives
            FolderLock(tmp_path).release()
        finally:
            os.kill(int(child.read_text()), signal.SIGKILL)


def test_one_process_may_take_it_twice_and_holds_it_until_both_are_given_up(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    code = "import sys; from pathlib import Path; from legibility.folder_lock import FolderLock; FolderLock(Path(sys.argv[1]))"
    attempt = [sys.executable, "-c", code, str(tmp_path)]
    first.release()
    assert subprocess.run(attempt, capture_output=True, check=False).returncode == 1
    second.release()
    assert not (tmp_path / LOCK).exists()
    assert subprocess.run(attempt, capture_output=True, check=False).returncode == 0


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    target = tmp_path / "mine"
    target.write_text("precious")
    (tmp_path / LOCK).symlink_to(target)
    with pytest.raises(OSError):
        FolderLock(tmp_path)
    assert target.read_text() == "precious"
