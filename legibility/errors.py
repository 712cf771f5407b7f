"""Errors meant for people. The command line prints them as one line and exits with their code.

`UserError` says what was wrong, where, and what to do (exit 2). `GateClosed` says that a check
made before spending compute failed (exit 3). `WorkerDied` and `Interrupted` end a command from outside.
`as_line` makes one line of what the operating system refuses.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from importlib import metadata

from legibility.printable import printable


class UserError(Exception):
    """Bad input: a file, a setting or a model that cannot be used. One line, exit code 2."""

    exit_code = 2


class GateClosed(Exception):
    """A gate (see `legibility.game.gates`) refused to go on. One line, exit code 3."""

    exit_code = 3


class WorkerDied(RuntimeError):
    """A worker process ended without a word (killed for memory, say). One line, exit code 1."""

    exit_code = 1


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. No `KeyboardInterrupt`, which libraries catch and turn into something else.

    phase: what was being made; None between phases. step: to where it is kept; None: it is not.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum, self.phase, self.step = signum, None, None
        self.exit_code = 128 + signum

    phase: str | None
    step: int | None

    @property
    def by_system(self) -> bool:
        """Whether it was no Ctrl-C: a scheduler, a launcher or `kill`."""
        return self.signum != signal.SIGINT

    def __str__(self) -> str:
        by = "stopped by Ctrl-C" if self.signum == signal.SIGINT else f"stopped by {signal.Signals(self.signum).name}"
        if self.phase is None:
            return f"{by}: what was finished is kept"
        kept = "its work so far is gone" if self.step is None else f"it is kept to step {self.step}"
        return f"{by} in {self.phase}: {kept}, every finished phase is kept"


FIXES = {
    errno.ENOSPC: "free some space and run the command again (a run goes on with --resume)",
    errno.EDQUOT: "free some of your quota and run the command again (a run goes on with --resume)",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) and run the command again",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose another path, or change its permissions",
    errno.EPERM: "choose another path, or change its permissions",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another path",
    errno.EISDIR: "a folder stands where a file is needed; choose another path",
    errno.EEXIST: "move it away, or choose another path",
    errno.ENOTEMPTY: "move it away, or choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close some",
    errno.EIO: "the disk or network drive failed; check it",
    errno.ESTALE: "the network drive failed; check it",
    errno.ELOOP: "the path goes through links without end; choose another path",
}
"""What to do about a refusal of the operating system."""

_RUST = re.compile(r"\(os error (\d+)\)")  # how safetensors and tokenizers tell an OSError


def as_os_error(error: BaseException, path: object = None) -> OSError | None:
    """What the operating system refused, as an OSError that names a path: `path` where it names none itself.

    None for an error of another kind. safetensors and tokenizers raise their own for a full disk.
    """
    if isinstance(error, OSError):
        if error.filename is None and path is not None and error.errno is not None:
            return type(error)(error.errno, os.strerror(error.errno), str(path))  # pyarrow says it in words of its own
        return error
    told = _RUST.search(str(error))
    if told is None:
        return None
    return OSError(int(told[1]), os.strerror(int(told[1])), None if path is None else str(path))


def as_line(error: BaseException) -> str | None:
    """One line for people: of an error made for them, or of what the operating system refused; None for any other.

    What could restyle a terminal, of a path or a file's content, is written out.
    """
    if isinstance(error, (UserError, GateClosed, WorkerDied, Interrupted)):
        return _one_line(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return (
            "memory is short; smaller ppo.micro_batch_size and compute.rollout_batch, or compute.workers=1, need less"
        )
    if isinstance(error, ModuleNotFoundError):
        return _missing_extra(error.name or "")
    refused = as_os_error(error)
    if refused is None:
        return None
    if refused.errno is None:
        return _one_line(error)[:300]
    what = (refused.strerror or os.strerror(refused.errno)).lower()
    where = " -> ".join(str(name) for name in (refused.filename, refused.filename2) if name is not None)
    return printable(f"{where or 'a file'}: {what}; {FIXES.get(refused.errno, 'check the path and the disk')}")


def _missing_extra(module: str) -> str | None:
    """What to install for a library that an extra of this package brings; None for any other module."""
    package = module.partition(".")[0].replace("_", "-")
    try:
        requirements = metadata.requires("legibility") or []
    except metadata.PackageNotFoundError:  # run from its source alone
        return None
    found = [re.match(r"([A-Za-z0-9.-]+).*extra == ['\"](\w+)", line) for line in requirements]
    extras = [m[2] for m in found if m and m[1].lower() == package and m[2] not in ("dev", "docs", "test")]
    return f'{package} is not installed; pip install "legibility[{extras[0]}]"' if extras else None


def _one_line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()))
