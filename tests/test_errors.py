"""One line for people, of every error that is made for them or comes from the operating system."""

from __future__ import annotations

import errno
import signal

import pytest

from legibility.errors import GateClosed, Interrupted, UserError, WorkerDied, as_line, as_os_error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a: no"), "a: no"),
        (GateClosed("shut"), "shut"),
        (WorkerDied("gone"), "gone"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x/y"), "x/y: no such file or directory; check the path"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x: read-only file system; choose a folder that can be written"),
        (OSError(errno.EBADF, "Bad file descriptor"), "a file: bad file descriptor; check the path and the disk"),
        (OSError("parquet is damaged"), "parquet is damaged"),
    ],
)  # fmt: skip
def test_a_line(error, line):
    assert as_line(error) == line


def test_a_full_disk_says_how_to_go_on():
    assert "--resume" in as_line(OSError(errno.ENOSPC, "No space left on device", "run"))


def test_a_library_of_an_extra_that_is_missing_says_what_to_install():
    assert as_line(ModuleNotFoundError("no", name="uvicorn.config")) == (
        'uvicorn is not installed; pip install "legibility[judge]"'
    )
    assert as_line(ModuleNotFoundError("no", name="inspect_ai")) == (
        'inspect-ai is not installed; pip install "legibility[inspect]"'
    )
    assert as_line(ModuleNotFoundError("no", name="torch")) is None  # a broken installation: whoever mends it needs all
    assert as_line(ModuleNotFoundError("no", name="legibility.nothing")) is None


def test_an_error_in_the_code_is_no_line():
    assert as_line(ValueError("bug")) is None and as_line(KeyError("x")) is None


def test_memory():
    assert "compute.workers=1" in as_line(MemoryError())
    assert "micro_batch_size" in as_line(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))


def test_what_rust_libraries_tell_of_the_system_is_an_os_error_with_the_path():
    error = as_os_error(Exception("I/O error: No space left on device (os error 28)"), "run/base")
    assert (error.errno, error.filename) == (errno.ENOSPC, "run/base")
    assert as_os_error(ValueError("shape"), "run/base") is None


def test_an_os_error_keeps_its_own_path_and_kind():
    named = PermissionError(errno.EACCES, "Permission denied", "mine")
    assert as_os_error(named, "other") is named
    given = as_os_error(PermissionError(errno.EACCES, "Permission denied"), "other")
    assert isinstance(given, PermissionError) and given.filename == "other"


def test_an_interruption_says_by_what_and_what_is_lost():
    stop = Interrupted(signal.SIGINT)
    assert (str(stop), stop.exit_code) == ("stopped by Ctrl-C: what was finished is kept", 130)
    stop = Interrupted(signal.SIGTERM)
    stop.phase = "runs/a/base"
    assert stop.exit_code == 143 and "SIGTERM in runs/a/base: its work so far is gone" in str(stop)


def test_control_characters_are_written_out():
    assert as_line(UserError("a\x1b[31mred\n  b\u202e")) == r"a\x1b[31mred b\u202e"
    assert as_line(UserError("é ≥ 日")) == "é ≥ 日"
