"""How far a served study is, for who runs it: a page that refreshes itself, behind a secret of the organiser's.

Blinded like the judging page: it tells who has judged how much and how fast. What raters say, which items are
attention checks, and anything the key knows is not on it, so that watching a study cannot steer it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from legibility.errors import UserError
from legibility.files import write_new
from legibility.judging.store import Session
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import Organiser
from legibility.stored import read_stored, stored_text

ORGANISER = "organiser.json"
PROGRESS_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
AWAY = 300.0  # seconds without a sign after which a rater counts as away: five pairs and some rest
HOUR = 3600.0

State = Literal["free", "judging", "away", "done"]


@dataclass(frozen=True)
class SlotProgress:
    """One slot, from 1. Times in seconds since 1970; `seconds`: median time to an answer; None: nothing yet.

    `late`: answers after the time limit. `consent`: the version agreed to, "" where the study asks for none.
    """

    slot: int
    state: State
    judged: int
    total: int
    begun: float | None = None
    last: float | None = None
    seconds: float | None = None
    late: int = 0
    consent: str = ""


@dataclass(frozen=True)
class StudyProgress:
    """All slots at one moment, and how many judgments there were in the hour before it."""

    now: float
    slots: list[SlotProgress]
    last_hour: int

    @property
    def judged(self) -> int:
        """Judgments so far."""
        return sum(s.judged for s in self.slots)

    @property
    def total(self) -> int:
        """Judgments planned."""
        return sum(s.total for s in self.slots)

    @property
    def hours_left(self) -> float | None:
        """For all slots, if judging goes on as it did in the last hour; None where nobody judged."""
        return (self.total - self.judged) / self.last_hour if self.last_hour else None

    def count(self, state: State) -> int:
        """Slots in a state."""
        return sum(s.state == state for s in self.slots)


def progress_of(study: StudyFolder, raters: Sequence[Session], now: float) -> StudyProgress:
    """The progress of a study. raters: `Store.raters`; now: seconds since 1970."""
    of_slot = {r.slot: r for r in raters}
    slots = []
    for slot, items in enumerate(study.slots):
        rater = of_slot.get(slot)
        if rater is None:
            slots.append(SlotProgress(slot + 1, "free", 0, len(items)))
        else:
            slots.append(_slot(rater, len(items), now))
    finished = [_seconds(answer.finished_at) for r in raters for answer in r.answers]
    return StudyProgress(now, slots, sum(now - HOUR <= at <= now for at in finished))


def _slot(rater: Session, total: int, now: float) -> SlotProgress:
    begun = _seconds(rater.claimed_at)
    last = max([begun, *(s.time for s in rater.shown.values()), *(_seconds(a.finished_at) for a in rater.answers)])
    state: State = "done" if len(rater.judged) == total else "away" if now - last > AWAY else "judging"
    return SlotProgress(
        slot=rater.slot + 1,
        state=state,
        judged=len(rater.judged),
        total=total,
        begun=begun,
        last=last,
        seconds=median(a.seconds for a in rater.answers) if rater.answers else None,
        late=sum(a.timed_out for a in rater.answers),
        consent=rater.consent.version if rater.consent is not None else "",
    )


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def progress_page(progress: StudyProgress, study: StudyFolder) -> str:
    """The page as HTML."""
    templates = Environment(
        loader=PackageLoader("legibility.judging"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(moment=_moment)
    return templates.get_template("progress.html.j2").render(p=progress, protocol=study.protocol)


def _moment(seconds: float | None) -> str:
    return "–" if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%d %b %H:%M")


def organiser_key(study: Path) -> str:
    """The secret that opens the page, kept in organiser.json; made where there is none, for its owner's eyes only.

    Raises UserError for a file that holds something else or that cannot be written.
    """
    path = study / ORGANISER
    if os.path.lexists(path):
        return read_stored(path, Organiser, fix="move it away, and a new one is made").key
    made = Organiser(key=secrets.token_urlsafe(16))
    try:
        write_new(path, stored_text(made), private=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free space or give the study a folder you may write to"
        ) from None
    return made.key
