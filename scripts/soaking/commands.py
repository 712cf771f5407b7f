"""Commands of legibility as processes of their own, forked from this one: a second instead of ten, and as killable.

The caller has imported torch and legibility but computed nothing, so a fork starts where a fresh process stands
after its imports. Every command runs in a session of its own; what is left of it after its end is an orphan.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 240.0
"""Seconds after which a command counts as hanging."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: None where it was killed by a signal. hung: it had to be stopped after `TIMEOUT`.

    orphans: processes of it that lived on, `ORPHAN_SECONDS` after its end.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    killed: bool = False
    hung: bool = False
    orphans: int = 0

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.err

    @property
    def refused(self) -> bool:
        """Ended as bad input should: exit code 2, and one line of error at the end of what it says."""
        lines = self.err.splitlines()
        return self.code == 2 and not self.traceback and sum(line.startswith("error: ") for line in lines) == 1


ORPHAN_SECONDS = 20.0


def warm_up() -> None:
    """Import what commands import, so that forks need not."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import lifelines  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import statsmodels.api  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import legibility.ask
    import legibility.cli
    import legibility.evaluation.evaluate
    import legibility.judging.analysis
    import legibility.judging.export
    import legibility.judging.importing
    import legibility.judging.simulate
    import legibility.play
    import legibility.reporting.comparison
    import legibility.reporting.page
    import legibility.weak_to_strong.experiment_page
    import legibility.weak_to_strong.experiment_run  # noqa: F401

    torch.set_num_threads(1)


def legibility(
    *arguments: object,
    kill_after: float | None = None,
    kill_when: Callable[[], bool] | None = None,
    before: Callable[[], None] | None = None,
    folder: Path | None = None,
) -> Ended:
    """Run the command line in a forked process and wait for its end.

    kill_after: seconds after which the process (itself alone, not its children) gets SIGKILL; kill_when: the same,
    once this is true. before: called in the forked process first. folder: its working directory.
    """
    return call(lambda: _main(arguments), kill_after=kill_after, kill_when=kill_when, before=before, folder=folder)


def call(
    function: Callable[[], None],
    *,
    kill_after: float | None = None,
    kill_when: Callable[[], bool] | None = None,
    before: Callable[[], None] | None = None,
    folder: Path | None = None,
    timeout: float = TIMEOUT,
) -> Ended:
    """`legibility` for a function of this program."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(function, before, folder, out.fileno(), err.fileno())
        killed = hung = False
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                break
            spent = time.monotonic() - started
            if not killed and (
                (kill_after is not None and spent >= kill_after) or (kill_when is not None and kill_when())
            ):
                os.kill(child, signal.SIGKILL)
                killed = True
            elif spent > timeout:
                hung = True
                os.kill(child, signal.SIGKILL)
            time.sleep(0.003)
        seconds = time.monotonic() - started
        orphans = end_orphans(child)
        out.seek(0)
        err.seek(0)
        return Ended(
            os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            out.read().decode(errors="replace"),
            err.read().decode(errors="replace"),
            seconds,
            killed=killed and os.WIFSIGNALED(status),
            hung=hung,
            orphans=orphans,
        )


def _become(
    function: Callable[[], None], before: Callable[[], None] | None, folder: Path | None, out: int, err: int
) -> None:
    """What the forked process does; never returns."""
    code = 1
    try:
        os.setsid()
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        if folder is not None:
            os.chdir(folder)
        if before is not None:
            before()
        function()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _main(arguments: Sequence[object]) -> None:
    from legibility import cli

    sys.argv = ["legibility", *map(str, arguments)]
    cli.main()


def end_orphans(session: int) -> int:
    """How many processes of a session are still there a while after its leader's end; they are ended."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := _of_session(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return len(left)


def _of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                state, _, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(owner) == session and state != "Z":
                    found.append(int(entry.name))
    return found


# --- What a forked process may be told first ---------------------------------------------------------


def fixed_secrets() -> None:
    """Random secrets of a study become the same ones every time, so that two exports can be compared."""
    import random

    drawn, names = random.Random(0), secrets.token_hex
    secrets.randbits = drawn.getrandbits
    # but no names of temporary files, which nothing may share
    secrets.token_hex = lambda size=32: names(4) if size == 4 else f"{drawn.getrandbits(8 * size):0{2 * size}x}"


CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def _libc(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def own_mounts() -> None:
    """Mounts of this process and its children alone. Raises OSError where that is not allowed."""
    user, group = os.getuid(), os.getgid()
    _libc("unshare", CLONE_NEWNS | CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _libc("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def mount(source: object, target: Path, kind: str | None, flags: int, options: str | None) -> None:
    """mount(2). Raises OSError where the system refuses."""
    named = [None if text is None else text.encode() for text in (str(source), str(target), kind, options)]
    _libc("mount", named[0], named[1], named[2], flags, named[3])


def read_only(folder: Path) -> None:
    """Make a folder read-only for this process and its children, root or not."""
    own_mounts()
    mount(folder, folder, None, MS_BIND, None)
    mount(folder, folder, None, MS_BIND | MS_REMOUNT | MS_RDONLY, None)


def small_disk(folder: Path, size: int) -> None:
    """Put a disk of `size` bytes where a folder is, for this process and its children."""
    own_mounts()
    mount("none", folder, "tmpfs", 0, f"size={size}")
