"""Invites: a secret for every slot, so that only those whom the organisers chose can take one.

`invites.jsonl` in the study folder has a line per slot that was free when it was made. A study that has the file is by
invitation from then on: leaving out an option must not open its door.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from legibility.errors import UserError
from legibility.files import write_new
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
        write_new(path, json_lines(made), private=True)
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
