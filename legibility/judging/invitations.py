"""Invites: a secret for every slot, so that only those whom the organisers chose can take one.

`invites.jsonl` in the study folder has a line per slot that was free when it was made. A study that has the file is by
invitation from then on: leaving out an option must not open its door.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from legibility.errors import UserError
from legibility.judging.study_folder import json_lines, read_lines
from legibility.judging.study_schema import Invite

INVITES = "invites.jsonl"


def invitations(study: Path, free_slots: Sequence[int], url: str, *, wanted: bool) -> list[Invite] | None:
    """The study's invites, made where there are none and they are `wanted`; None: the study is open.

    free_slots: slots nobody has taken, from 0; url: the address raters open. Raises UserError for an address that is
    no http one, a file that holds something else or that cannot be written, and where every slot is taken already.
    """
    path = study / INVITES
    if os.path.lexists(path):
        return read_lines(path, Invite, fix="restore it, or move it away (--invites then makes new ones)")
    if not wanted:
        return None
    if not _is_web_address(url):
        raise UserError(f"--url {url}: give the whole address raters open, such as https://study.example.org/")
    if not free_slots:
        raise UserError(f"{study}: every slot is taken already, so nobody is left to invite")
    made = []
    for slot in free_slots:
        invite = secrets.token_urlsafe(16)
        made.append(Invite(slot=slot + 1, invite=invite, link=f"{url.rstrip('/')}/?invite={invite}"))
    try:
        _write_private(path, json_lines(made))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free space or give the study a folder you may write to"
        ) from None
    return made


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _write_private(path: Path, text: str) -> None:
    """A new file that only its owner may read, whole or not there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
