"""One writer a folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import ClassVar, TextIO

from legibility.errors import UserError

LOCK = ".lock"


class FolderLock:
    """The right to write in a folder: one process at a time has it, and it ends with that process, however it ends.

    A record lock (`fcntl.lockf`) on a file inside the folder. Forked processes do not inherit it, so a worker
    that outlives a killed parent does not hold it, and it works between machines where the file system's locks do;
    where there are none (Windows, some network file systems) nothing is locked. It is a process's, not a thread's:
    taken twice in one process, it is held until it was given up twice.
    """

    _held: ClassVar[dict[Path, tuple[int, TextIO | None, int]]] = {}  # times taken, its file, the process

    def __init__(self, folder: Path) -> None:
        """Take it. Raises UserError where another process has it, OSError where the folder cannot be written."""
        self._key = folder.resolve()
        times, file, owner = self._held.get(self._key, (0, None, os.getpid()))
        if owner != os.getpid():  # a forked copy of this table, whose lock is the parent's
            times, file = 0, None
        if times == 0:
            file = _locked(folder / LOCK)
        self._held[self._key] = times + 1, file, os.getpid()

    def release(self) -> None:
        """Give it up; the file goes away with the last holder of this process."""
        times, file, owner = self._held.get(self._key, (0, None, 0))
        if owner != os.getpid() or times == 0:
            return
        if times > 1:
            self._held[self._key] = times - 1, file, owner
            return
        del self._held[self._key]
        if file is not None:
            (self._key / LOCK).unlink(missing_ok=True)  # while it is held: see `_locked`
            file.close()


def _locked(path: Path) -> TextIO | None:
    """An open file with the lock; None where nothing can be locked. Raises UserError where another process has it."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        return None
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        file = open(descriptor, "r+", encoding="utf-8", errors="replace")  # noqa: SIM115 - held until it is released
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            who = " ".join(file.read(200).split()) or "another process"
            file.close()
            raise UserError(
                f"{path.parent}: {who} is at work in this folder; wait for it or stop it, or choose another folder"
            ) from None
        except OSError:  # a file system without locks
            file.close()
            path.unlink(missing_ok=True)
            return None
        try:
            same = os.fstat(file.fileno()).st_ino == os.stat(path).st_ino
        except FileNotFoundError:
            same = False
        if same:
            break
        file.close()  # its last holder removed it between our opening and our locking
    file.truncate()
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file
