"""From a record of some tool's export to a judgment, or the reason why it is none: the rules that all tools share.

Only three things can cost a judgment: no item of this study, no answer that is True or False, and nobody who judged.
Everything else is optional; a value that cannot be used is left out, with a remark.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from legibility.judging.answer_values import answer_values
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import Judgment
from legibility.printable import printable


class Refusal(NamedTuple):
    """A row that was not taken: where it is, and why."""

    where: str
    reason: str


class Skipped(NamedTuple):
    """A row that holds no judgment yet (an empty answer): nothing to take, nothing wrong."""

    where: str


class Remark(NamedTuple):
    """Something to know about a row that was taken, or about the file."""

    where: str
    text: str


Row = Judgment | Refusal | Skipped | Remark
Located = tuple[str, Row]

NOBODY = frozenset({"", "none", "null", "nan", "undefined", "unknown", "deleted", "deleted user", "all"})
"""What tools write where they do not know who judged, in lower case; `all` is a project whose raters share labels."""


class RowMaker:
    """Makes the rows of one file. `rater`: who judged where the file does not say (--rater)."""

    def __init__(self, study: StudyFolder, tool: str, rater: str | None) -> None:
        self.study, self.tool, self.rater = study, tool, rater
        self._unnamed: set[str] = set()

    def rows(
        self, where: str, record: Any, who: Any, *, participant: str = "", slot: int | None = None
    ) -> Iterator[Located]:
        """The rows of a record with item_id, answer and perhaps more.

        who: the rater's name or number, as it stands there; slot: from 1, where our own page says which list it was.
        """
        assisted = self.study.assisted[slot - 1] if slot is not None else frozenset[str]()
        for row in self._rows(printable(where), record, who, participant):
            if isinstance(row, Judgment) and row.item_id in assisted:
                row = replace(row, assisted=True)
            yield where, row

    def _rows(self, where: str, record: Any, who: Any, participant: str) -> Iterator[Row]:
        if not isinstance(record, Mapping):
            yield Refusal(where, "not an object")
            return
        named = _name(who)
        name = named or _name(self.rater)
        if name is None:
            yield Refusal(where, "does not say who judged; name them with --rater")
            return
        written = record.get("item_id")
        if not _is_plain(written) or not str(written):
            yield Refusal(where, "no item_id")
            return
        item_id = str(written)
        if item_id not in self.study.items:
            found = item_written_as_number(item_id, self.study.items)
            if found is None:
                yield Refusal(where, f"item_id {_quoted(written)} is not in this study")
                return
            yield Remark(where, f"item_id {_quoted(written)} was taken for a number by some program; read as {found}")
            item_id = found
        verdict = {"true": True, "false": False}.get(_lower(record.get("answer")))
        if verdict is None:
            yield Refusal(where, f"answer {_quoted(record.get('answer'))} is neither True nor False")
            return
        if named is None:
            if item_id in self._unnamed:
                reason = "a second judgment of this item by someone without a name; import each rater's file by itself with --rater"
                yield Refusal(where, reason)
                return
            self._unnamed.add(item_id)
        values = answer_values(
            self.study.items[item_id].solution,
            seconds=record.get("seconds"),
            confidence=record.get("confidence"),
            first_wrong_step=record.get("first_wrong_step"),
        )
        unusable = list(values.unusable)
        times = {}
        for field in ("started_at", "finished_at"):
            times[field] = _time(record.get(field))
            if times[field] is None:
                unusable.append(f"{field} {_quoted(record.get(field))} is not a time in ISO 8601")
        for reason in unusable:
            yield Remark(where, f"{reason}; left out")
        yield Judgment(
            item_id=item_id,
            rater=f"{self.tool}:{name}",
            verdict=verdict,
            seconds=values.seconds,
            timed_out=_lower(record.get("timed_out")) == "true",
            confidence=values.confidence,
            first_wrong_step=values.first_wrong_step,
            tool=self.tool,
            participant=printable(participant),
            started_at=times["started_at"] or "",
            finished_at=times["finished_at"] or "",
        )


def item_written_as_number(text: str, items: Iterable[str]) -> str | None:
    """The one id of `items` that a program took for a number and wrote as `text`; None where none or several fit.

    Studies of earlier versions have ids such as 000123456789 or 12e34567890a that a spreadsheet may write back as
    1.23457E+08. New ids are never numbers.
    """
    value = _as_number(text)
    if value is None:
        return None
    numbers = {i: number for i in items if (number := _as_number(i)) is not None}
    found = [i for i, number in numbers.items() if number == value]
    if not found:
        digits = len(text.replace(",", ".").upper().partition("E")[0].partition(".")[2])
        found = [i for i, number in numbers.items() if float(f"{number:.{digits}E}") == value]
    return found[0] if len(found) == 1 else None


def _as_number(text: str) -> float | None:
    if not re.fullmatch(r"[+]?(\d+([.,]\d*)?(e[+-]?\d+)?|inf)", text.strip(), re.IGNORECASE | re.ASCII):
        return None
    number = float(text.replace(",", "."))
    return None if math.isnan(number) else number


def _name(who: Any) -> str | None:
    """A rater's name, or None where it is nobody's. An é is one character or two, depending on who typed it: here one."""
    if not _is_plain(who):
        return None
    name = unicodedata.normalize("NFC", printable(who)).strip()
    return None if name.lower() in NOBODY else name


def _time(value: Any) -> str | None:
    """A time as the file writes it; empty where it is left out, None where it is none."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        return None
    text = re.sub(r"[Zz]$", "+00:00", value.strip())
    text = re.sub(r"\.(\d+)", lambda m: f".{m[1][:6]:0<6}", text)
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return value.strip() if value.isascii() else None


def _is_plain(value: Any) -> bool:
    """A text or a number, not a flag."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _lower(value: Any) -> str:
    return str(value).strip().lower() if isinstance(value, (str, bool)) else ""


def _quoted(value: Any) -> str:
    """A value in a sentence. What is no plain value is named by its type: it may be nested without end."""
    return (
        repr(printable(value)[:40])
        if value is None or isinstance(value, (str, int, float))
        else f"({type(value).__name__})"
    )


def shortened(value: Any, length: int = 80) -> str:
    """The beginning of a record, for a message."""
    try:
        return printable(json.dumps(value, ensure_ascii=False))[:length]
    except RecursionError:
        return f"({type(value).__name__})"
