"""Files that are whole or not there: atomic writing, and the hashes that show a change."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import secrets
from functools import partial
from pathlib import Path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes through a temporary name, fsync, rename. What fails leaves nothing behind.

    The temporary name is nobody else's, so two processes that write the same file both end, and the last one's
    content stands. Raises OSError that names `path`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # made anew: a link of that name is never followed
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with open(descriptor, "wb") as handle:
            handle.write(content.encode("utf-8") if isinstance(content, str) else content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:  # the name people know, and one where there was none
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise


def write_new(path: Path, text: str, *, private: bool = False) -> None:
    """Write a file that is not there yet (UTF-8); `private`: for its owner's eyes only.

    Raises FileExistsError where it is there, other OSErrors; what fails leaves nothing behind.
    """
    mode = 0o600 if private else 0o666
    with open(path, "x", encoding="utf-8", newline="\n", opener=partial(os.open, mode=mode)) as handle:
        try:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def refuse_pipe(path: Path) -> None:
    """Raise OSError for a pipe, a socket or a device: nobody may ever write there, and what is read is gone."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))


def is_temporary(path: Path) -> bool:
    """Whether a name is one that unfinished work has: `.NAME.tmp`. A link is not, whoever made it."""
    return path.name.startswith(".") and path.name.endswith(".tmp") and not path.is_symlink()


def sha256(path: Path, size: int | None = None) -> str:
    """Hex digest of a file, or of its first `size` bytes, read in pieces."""
    digest, left = hashlib.sha256(), math.inf if size is None else size
    with open(path, "rb") as handle:
        while left > 0 and (block := handle.read(int(min(left, 1 << 20)))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk, so that they (a rename in it, say) survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seen_from(folder: Path, other: Path) -> str:
    """The way from a folder to another, so that a shared folder tells nothing of its machine."""
    try:
        return Path(os.path.relpath(other.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return str(other.resolve())
