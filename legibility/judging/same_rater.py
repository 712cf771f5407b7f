"""One person under two names: exported twice, once by number and once by address, or from two copies of a file.

Two raters would count where there is one, and intervals would be too narrow. Judgments that began and ended at the
same moments were made by the same person, unless they come from the judging server: it gives every rater a slot, and
two who answer fast may share their moments to the millisecond. Where a tool keeps no time, many equal judgments of the same items are not
taken for two people's in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import pandas as pd

from legibility.errors import UserError
from legibility.judging.table import Judgment

SERVER = "server"  # the tool of its judgments, which `readers` names
FEW, MANY = 10, 30  # equal judgments that are pointed out, and that are refused


def known_names(before: pd.DataFrame, rows: Sequence[Judgment]) -> dict[str, str]:
    """Name in a file -> the name that the same person has already, in the table `before` or earlier in the file."""
    names = set(before.rater)
    moments: dict[tuple[object, ...], str] = {}
    for old in before.itertuples(index=False):
        moment = _moment(old.tool, old.item_id, bool(old.verdict), old.started_at, old.finished_at)
        if moment is not None:
            moments.setdefault(moment, old.rater)
    found: dict[str, str] = {}
    for name, mine in _by_rater(rows).items():
        own = [m for r in mine if (m := _moment(r.tool, r.item_id, r.verdict, r.started_at, r.finished_at)) is not None]
        others = {moments[m] for m in own if m in moments}
        if name not in names and len(others) == 1:
            found[name] = others.pop()
        for moment in own:
            moments.setdefault(moment, found.get(name, name))
        names.add(name)
    return found


def check_twins(path: object, before: pd.DataFrame, rows: Sequence[Judgment]) -> list[str]:
    """Remarks on raters of a file who say exactly what another does of exactly the same items, without times.

    Raises UserError where that can hardly be chance: 30 judgments, or 10 with the same seconds.
    """
    seen: dict[tuple[object, ...], str] = {}
    for name, old in before.groupby("rater", sort=False):
        cells = zip(old.item_id, old.verdict, old.seconds, old.confidence, old.first_wrong_step, strict=True)
        seen.setdefault(_fingerprint(cells), str(name))
    remarks = []
    known = set(before.rater)
    for name, mine in _by_rater(rows).items():
        said = ((r.item_id, r.verdict, r.seconds, r.confidence, r.first_wrong_step) for r in mine)
        other = seen.setdefault(_fingerprint(said), name)
        if name in known or other == name or len(mine) < FEW or any(r.started_at for r in mine):
            continue
        timed = len({r.seconds for r in mine}) > 2
        what = f"{name} and {other} judged the same {len(mine)} items and said the same of each"
        if timed or len(mine) >= MANY:
            raise UserError(
                f"{path}: {what}; if it is one person, import one of the two, else each rater's file with --rater"
            )
        remarks.append(f"{what}; if it is one person, remove one of the two from the table")
    return remarks


def _by_rater(rows: Iterable[Judgment]) -> dict[str, list[Judgment]]:
    found: dict[str, list[Judgment]] = {}
    for row in rows:
        found.setdefault(row.rater, []).append(row)
    return found


def _fingerprint(cells: Iterable[tuple[object, ...]]) -> tuple[object, ...]:
    """What a rater said, in the order of the items; missing cells are all alike."""
    return tuple(sorted(tuple("" if pd.isna(c) else str(c) for c in row) for row in cells))


def _moment(tool: str, item_id: str, verdict: bool, started: str, finished: str) -> tuple[object, ...] | None:
    """What no two people can share: the same item of the same tool, from and to the same moment. None on the judging
    server, where slots tell who is who."""
    if tool == SERVER:
        return None
    begun, ended = _instant(started), _instant(finished)
    if begun is None or ended is None or begun == ended:
        return None
    return tool, item_id, verdict, begun, ended


def _instant(text: str) -> datetime | None:
    """A time in ISO 8601, None where it is none or has no fraction of a second: whole seconds may be shared."""
    if "." not in text:
        return None
    head, _, rest = text.strip().replace("Z", "+00:00").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        return datetime.fromisoformat(f"{head}.{rest[:digits][:6]:0<6}{rest[digits:]}")
    except ValueError:
        return None
