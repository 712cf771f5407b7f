"""The server's memory: one append-only log, written and synced before anything is acknowledged.

`server.jsonl` in the study folder has one event per line: `claim` (a rater took a slot), `shown` (an item
was put on screen; its clock runs from here, also across closed tabs and restarts) and `judgment`.
The state is what replaying the log gives. An event stands for one thing that happened (a token's claim, an item shown
to a token or judged by it), so a line that says it again changes nothing. A line that could not be written whole and
synced (a full disk) is taken back before anything else is written; one cut off by a crash was never acknowledged, and
is dropped. Nothing here reads the key.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from legibility.errors import UserError
from legibility.judging.answer_values import answer_values
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import (
    ClaimEvent,
    ConsentGiven,
    JudgmentEvent,
    ServerEvent,
    ShownEvent,
    server_event,
)

LOG = "server.jsonl"


class Refused(Exception):
    """A request that cannot be served; the message is for the rater. `status`: the HTTP status that says so."""

    def __init__(self, message: str, status: int = 409) -> None:
        super().__init__(message)
        self.status = status


class NotStored(Exception):
    """The log could not be written: nothing was acknowledged, and the same request may be sent again.

    `first`: the one before it could be written, so the organisers have not been told yet.
    """

    def __init__(self, message: str, *, first: bool) -> None:
        super().__init__(message)
        self.first = first


class FirstShowing(NamedTuple):
    """When an item was first shown: the wall clock, and this process's steady clock (None: by an earlier process)."""

    time: float
    ticks: float | None = None

    def elapsed(self) -> float:
        """Seconds since then, never negative: the wall clock may have been set back."""
        return max(0.0, time.time() - self.time if self.ticks is None else time.monotonic() - self.ticks)


@dataclass
class Session:
    """One rater: `slot` counts from 0; `shown` item -> when it was first shown; `judged` items in order, `answers` to
    them; `claimed_at` ISO 8601; `consent` (None: the study asks for none)."""

    slot: int
    token: str
    visitor: dict[str, str]
    start_id: str | None = None
    shown: dict[str, FirstShowing] = field(default_factory=dict)
    judged: list[str] = field(default_factory=list)
    answers: list[JudgmentEvent] = field(default_factory=list)
    claimed_at: str = ""
    consent: ConsentGiven | None = None


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

    def __init__(
        self, study: StudyFolder, *, invites: Mapping[str, int] | None = None, start_limit: int | None = None
    ) -> None:
        """Open (and lock) the study's log, which only its owner may read: it holds the raters' tokens.

        invites: invite -> slot from 0; only they are let in (None: everyone). start_limit: slots that one network
        address may take (None: any number); addresses are never stored. Raises UserError where another server has
        the log, it is damaged, or it cannot be written.
        """
        self.study = study
        self.path = study.path / LOG
        self.invites = invites
        self._start_limit = start_limit
        self._starts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._failing = False
        self._torn: int | None = None  # length of the log where an append could not be taken back
        self.sessions: dict[str, Session] = {}
        self._log = _open_log(self.path)
        try:
            for number, event in enumerate(read_log(self.path, cut_tail=True), start=1):
                self._check(event, number)
                self._apply(event)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give up the log, so that another server may open it."""
        os.close(self._log)

    @property
    def free_slots(self) -> list[int]:
        """Slots that nobody has taken, from 0."""
        taken = {s.slot for s in self.sessions.values()}
        return [slot for slot in range(len(self.study.slots)) if slot not in taken]

    def raters(self) -> list[Session]:
        """The sessions as they are now, copied, in the order of their slots."""
        with self._lock:
            copies = [
                replace(s, shown=dict(s.shown), judged=list(s.judged), answers=list(s.answers))
                for s in self.sessions.values()
            ]
        return sorted(copies, key=lambda s: s.slot)

    def start(
        self,
        token: str | None,
        visitor: Mapping[str, str],
        *,
        invite: str | None = None,
        start_id: str | None = None,
        address: str | None = None,
        consent: str | None = None,
    ) -> Session | None:
        """The session of a token, of an invite, of a returning visitor, or a new one; None: they have yet to agree.

        consent: the version of the text that they agreed to; without it nothing is stored of a new rater.

        start_id: a secret the page made before it asked, so that asking again after a lost reply takes no second slot.
        A visitor is known by PROLIFIC_PID and SESSION_ID together: the first alone is no secret. Raises Refused for a
        full study, a missing invite, a known PROLIFIC_PID in another session, and beyond the start limit; NotStored.
        """
        with self._lock:
            session = self.sessions.get(token or "") or self._of_start(start_id)
            if session is None:
                session = self._invited(invite) if self.invites is not None else self._returning(visitor)
            if session is None:
                slot = self._slot_for(invite)
                asked = self.study.protocol.consent
                if asked is not None and consent != asked.version:
                    return None
                if self._start_limit is not None and address is not None and self._starts[address] >= self._start_limit:
                    raise Refused("Too many people have started from your network. Please tell the organisers.", 429)
                token = secrets.token_urlsafe(16)
                claim = ClaimEvent(slot=slot + 1, token=token, visitor=dict(visitor), at=_iso(time.time()))
                if start_id is not None:
                    claim = claim.model_copy(update={"start_id": start_id})
                if asked is not None:
                    given = ConsentGiven(version=asked.version, text=asked.text, at=claim.at)
                    claim = claim.model_copy(update={"consent": given})
                session = self._write(claim)
                if address is not None:
                    self._starts[address] += 1
            return session

    def show(self, token: str) -> OnScreen | None:
        """Put the rater's open or next item on the screen; None when they are done. Raises Refused for an unknown
        token, and NotStored."""
        with self._lock:
            session = self._session(token)
            item = self._next(session)
            if item is None:
                return None
            if item not in session.shown:
                now = time.time()
                self._write(ShownEvent(slot=session.slot + 1, token=token, item_id=item, time=now, at=_iso(now)))
                session.shown[item] = FirstShowing(now, time.monotonic())
                return OnScreen(item, 0.0)
            return OnScreen(item, session.shown[item].elapsed())

    def answer(self, token: str, given: RaterAnswer) -> None:
        """Store a judgment. Sending it twice is harmless: the first one stands.

        Raises Refused for any other item, or for values that an import would not take; NotStored.
        """
        with self._lock:
            session = self._session(token)
            item = given.item_id
            if item in session.judged:
                return
            if item != self._next(session) or item not in session.shown:
                raise Refused("This item is not the one on your screen. Please reload the page.")
            shown = session.shown[item]
            elapsed = shown.elapsed()
            values = answer_values(
                self.study.items[item].solution,
                seconds=given.seconds,
                confidence=given.confidence,
                first_wrong_step=given.first_wrong_step,
            )
            if values.unusable:
                raise Refused(f"Bad request: {values.unusable[0]}", 400)
            self._write(
                JudgmentEvent(
                    slot=session.slot + 1,
                    token=token,
                    item_id=item,
                    answer=given.answer,
                    seconds=min(values.seconds or 0.0, elapsed),
                    timed_out=given.timed_out,
                    confidence=values.confidence,
                    first_wrong_step=values.first_wrong_step,
                    started_at=_iso(shown.time),
                    finished_at=_iso(shown.time + elapsed),
                    at=_iso(time.time()),
                )
            )

    def _session(self, token: str) -> Session:
        if token not in self.sessions:
            raise Refused("Your session is not known here. Please open the link you were given again.")
        return self.sessions[token]

    def _of_start(self, start_id: str | None) -> Session | None:
        if start_id is None:
            return None
        return next((s for s in self.sessions.values() if s.start_id == start_id), None)

    def _invited(self, invite: str | None) -> Session | None:
        """The session of an invite. Raises Refused where it is none."""
        slot = (self.invites or {}).get(invite or "")
        if slot is None:
            raise Refused("This study is by invitation. Please open the whole link that you were given.", 403)
        return next((s for s in self.sessions.values() if s.slot == slot), None)

    def _returning(self, visitor: Mapping[str, str]) -> Session | None:
        """The session of a visitor who was here. Raises Refused where the id is known and the Prolific session is not."""
        pid, visit = visitor.get("PROLIFIC_PID"), visitor.get("SESSION_ID")
        known = [s for s in self.sessions.values() if pid and s.visitor.get("PROLIFIC_PID") == pid]
        same = next((s for s in known if visit and s.visitor.get("SESSION_ID") == visit), None)
        if known and same is None:
            raise Refused("You have started already. Please go on in the browser and with the link you began with.")
        return same

    def _slot_for(self, invite: str | None) -> int:
        if self.invites is not None:
            return self.invites[invite or ""]
        free = self.free_slots
        if not free:
            raise Refused("This study is full. Thank you for coming.")
        return free[0]

    def _next(self, session: Session) -> str | None:
        return next((i for i in self.study.slots[session.slot] if i not in session.judged), None)

    def _write(self, event: ServerEvent) -> Session:
        """Append, sync, apply. What cannot be appended whole is taken back. Raises NotStored."""
        line = (json.dumps(event.model_dump(mode="json"), ensure_ascii=False) + "\n").encode()
        try:
            if self._torn is not None:
                os.ftruncate(self._log, self._torn)
                self._torn = None
            before = os.fstat(self._log).st_size
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._log, rest) :]
                os.fsync(self._log)
            except OSError:
                self._torn = before
                with contextlib.suppress(OSError):
                    os.ftruncate(self._log, before)
                    self._torn = None
                raise
        except OSError as error:
            first, self._failing = not self._failing, True
            raise NotStored(f"{self.path}: cannot be written ({error.strerror or error})", first=first) from error
        self._failing = False
        return self._apply(event)

    def _check(self, event: ServerEvent, number: int) -> None:
        """Raises UserError for an event of another study."""
        session = self.sessions.get(event.token)
        if isinstance(event, ClaimEvent):
            fits = event.slot <= len(self.study.slots)
        else:
            fits = session is not None and event.item_id in self.study.slots[session.slot]
        if not fits:
            raise UserError(
                f"{self.path} line {number}: does not fit the study's {len(self.study.slots)} slots; move the log of another study away"
            )

    def _apply(self, event: ServerEvent) -> Session:
        """Change the state as an event says; an event that was applied already changes nothing."""
        if isinstance(event, ClaimEvent):
            new = Session(
                event.slot - 1, event.token, event.visitor, event.start_id, claimed_at=event.at, consent=event.consent
            )
            return self.sessions.setdefault(event.token, new)
        session = self.sessions[event.token]
        if isinstance(event, ShownEvent):
            session.shown.setdefault(event.item_id, FirstShowing(event.time))
        elif event.item_id not in session.judged:
            session.judged.append(event.item_id)
            session.answers.append(event)
        return session


def _open_log(path: Path) -> int:
    """A descriptor of the log, locked, made where it is missing, and for its owner's eyes only."""
    try:
        log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); give the study a folder that you may write to"
        ) from None
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(log, 0o600)  # logs of earlier versions could be read by everyone
    except BlockingIOError:
        os.close(log)
        raise UserError(f"{path}: another server is running on this study; stop it first") from None
    except OSError as error:
        os.close(log)
        raise UserError(
            f"{path}: cannot be locked or kept private ({error.strerror}); put the study on a local disk of yours"
        ) from None
    return log


def read_log(path: Path, *, cut_tail: bool = False) -> list[ServerEvent]:
    """All events of a log. A last line without its line end is left out (and, with `cut_tail`, cut off the file).

    Raises UserError naming a damaged line before the last, and for a file that cannot be read.
    """
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if cut_tail and whole < len(content):
            os.truncate(path, whole)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the log of the judging server") from None
    events: list[ServerEvent] = []
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            events.append(server_event.validate_json(line))
        except ValidationError:
            raise UserError(
                f"{path} line {number}: not an event of the judging server; restore the line or remove it"
            ) from None
    return events


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
