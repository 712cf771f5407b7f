"""The server's memory: one append-only log, written and synced before anything is acknowledged.

`server.jsonl` in the study folder has one event per line: `claim` (a rater took a slot), `shown` (an item
was put on screen; its clock runs from here, also across closed tabs and restarts) and `judgment`.
The state is what replaying the log gives. A last line cut off by a crash was never acknowledged; it
is dropped. Nothing here reads the key.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from legibility.errors import UserError
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import ClaimEvent, JudgmentEvent, ServerEvent, ShownEvent, server_event

LOG = "server.jsonl"


class Refused(Exception):
    """A request that cannot be served; the message is for the rater."""


@dataclass
class Session:
    """One rater: `slot` counts from 0; `shown` item -> time it was first shown; `judged` items in order."""

    slot: int
    token: str
    visitor: dict[str, str]
    shown: dict[str, float] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)


class OnScreen(NamedTuple):
    """The item a rater has on their screen, and the seconds since it was first shown."""

    item_id: str
    elapsed: float


@dataclass(frozen=True)
class RaterAnswer:
    """What a rater says of an item. `seconds` as their page measured it; `confidence` 1 to 5; a line from 1."""

    item_id: str
    answer: bool
    seconds: float
    timed_out: bool
    confidence: int | None = None
    first_wrong_step: int | None = None


class Store:
    """Sessions of one study. Methods are safe to call from several threads."""

    def __init__(self, study: StudyFolder) -> None:
        """Open (and lock) the study's log. Raises UserError where another server has it, or it is damaged."""
        self.study = study
        self.path = study.path / LOG
        self._lock = threading.Lock()
        self._file = open(self.path, "a+b")  # noqa: SIM115 - held, with its lock, for the server's life
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{self.path}: another server is running on this study; stop it first") from None
        self.sessions: dict[str, Session] = {}
        for event in read_log(self.path, cut_tail=True):
            self._apply(event)

    def close(self) -> None:
        """Give up the log, so that another server may open it."""
        self._file.close()

    def start(self, token: str | None, visitor: Mapping[str, str]) -> Session:
        """The session of a token or of a returning visitor (same PROLIFIC_PID), or a new one.

        Raises Refused when the study is full.
        """
        with self._lock:
            session = self.sessions.get(token or "")
            pid = visitor.get("PROLIFIC_PID")
            if session is None and pid:
                session = next((s for s in self.sessions.values() if s.visitor.get("PROLIFIC_PID") == pid), None)
            if session is None:
                slot = len(self.sessions)
                if slot >= len(self.study.slots):
                    raise Refused("This study is full. Thank you for coming.")
                token = secrets.token_urlsafe(16)
                session = self._write(ClaimEvent(slot=slot + 1, token=token, visitor=dict(visitor), at=_now()))
            return session

    def show(self, token: str) -> OnScreen | None:
        """Put the rater's open or next item on the screen; None when they are done. Raises Refused for an unknown token."""
        with self._lock:
            session = self._session(token)
            item = self._next(session)
            if item is None:
                return None
            if item not in session.shown:
                shown = time.time()
                self._write(ShownEvent(slot=session.slot + 1, token=token, item_id=item, time=shown, at=_now()))
                return OnScreen(item, 0.0)
            return OnScreen(item, time.time() - session.shown[item])

    def answer(self, token: str, given: RaterAnswer) -> None:
        """Store a judgment. Sending it twice is harmless: the first one stands. Raises Refused for any other item."""
        with self._lock:
            session = self._session(token)
            item = given.item_id
            if item in session.judged:
                return
            if item != self._next(session) or item not in session.shown:
                raise Refused("This item is not the one on your screen. Please reload the page.")
            begun, ended = session.shown[item], time.time()
            self._write(
                JudgmentEvent(
                    slot=session.slot + 1,
                    token=token,
                    item_id=item,
                    answer=given.answer,
                    seconds=min(given.seconds, ended - begun),
                    timed_out=given.timed_out,
                    confidence=given.confidence,
                    first_wrong_step=given.first_wrong_step,
                    started_at=_iso(begun),
                    finished_at=_iso(ended),
                    at=_now(),
                )
            )

    def _session(self, token: str) -> Session:
        if token not in self.sessions:
            raise Refused("Your session is not known here. Please open the link you were given again.")
        return self.sessions[token]

    def _next(self, session: Session) -> str | None:
        order = self.study.slots[session.slot]
        return order[len(session.judged)] if len(session.judged) < len(order) else None

    def _write(self, event: ServerEvent) -> Session:
        self._file.write((json.dumps(event.model_dump(mode="json"), ensure_ascii=False) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._apply(event)

    def _apply(self, event: ServerEvent) -> Session:
        if isinstance(event, ClaimEvent):
            session = Session(event.slot - 1, event.token, event.visitor)
            self.sessions[session.token] = session
            return session
        session = self.sessions[event.token]
        if isinstance(event, ShownEvent):
            session.shown[event.item_id] = event.time
        else:
            session.judged.append(event.item_id)
        return session


def read_log(path: Path, *, cut_tail: bool = False) -> list[ServerEvent]:
    """All events of a log. A last line without its line end is left out (and, with `cut_tail`, cut off the file).

    Raises UserError naming a damaged line before the last.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if cut_tail and whole < len(content):
        os.truncate(path, whole)
    events: list[ServerEvent] = []
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            events.append(server_event.validate_json(line))
        except ValidationError:
            raise UserError(
                f"{path} line {number}: not an event of the judging server; restore the line or remove it"
            ) from None
    return events


def _now() -> str:
    return _iso(time.time())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
