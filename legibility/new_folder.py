"""A folder that a command makes for its user: whole or not at all, and never over anything.

It is made under a hidden name beside its place and renamed at the end. A killed command cannot clean up; what it
left goes with the next one that makes a folder of that name.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from legibility.errors import UserError
from legibility.files import is_temporary
from legibility.folder_lock import FolderLock


def check_new(out: Path, example: str) -> None:
    """Raises UserError where `out` names no folder, or something stands there. An empty folder may."""
    if out.name in ("", ".."):
        raise UserError(f"--out {out}: name the folder to make, such as {out / example}")
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already; choose another --out")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder to write in, which becomes `out` if the block ends without error.

    What fails leaves nothing behind. Raises UserError for what cannot be written.
    """
    work = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")  # nobody else's: nothing is deleted to make it
    lock: FolderLock | None = None
    try:
        _sweep(out)
        work.mkdir(parents=True)
        lock = FolderLock(work)
        yield work
        if out.exists():
            out.rmdir()
        lock.release()  # its file would move along
        os.replace(work, out)
    except BaseException as error:
        if lock is not None:
            lock.release()
        shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, OSError):
            raise UserError(
                f"{out}: cannot be written ({error.strerror or error}); free space or choose another --out"
            ) from None
        raise


def _sweep(out: Path) -> None:
    """Remove the hidden folders that killed commands left of this name; one that is still being written is locked."""
    name = re.compile(re.escape(f".{out.name}.") + r"[0-9a-f]{8}\.tmp")
    if not out.parent.is_dir():
        return
    for left in [p for p in out.parent.iterdir() if name.fullmatch(p.name) and is_temporary(p) and p.is_dir()]:
        try:
            lock = FolderLock(left)
        except UserError:
            continue
        try:
            shutil.rmtree(left)
        finally:
            lock.release()
