"""Reading what the tools export, one function per tool: located rows, each a judgment or the reason it is none.

Layouts: Label Studio (`label_studio`); doccano JSONL, alone or zipped per user; Argilla 2 records; CSV; the server's
log; the files the HTML form saves. A file that is not that format at all raises UserError; a single bad row does not.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.judging.label_studio import LABEL_STUDIO, read_label_studio
from legibility.judging.store import read_log
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import ClaimEvent, JudgmentEvent
from legibility.judging.tool_rows import Located, Refusal, Remark, RowMaker, Skipped, item_written_as_number
from legibility.judging.tool_text import Member, json_of, members_of, person_of, text_of


def read_server(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """The judging server's log. An answer that the log repeats (a full disk, in earlier versions) counts once."""
    maker = RowMaker(study, "server", rater)
    visitors: dict[str, str] = {}
    judged: set[tuple[str, str]] = set()
    for number, event in enumerate(read_log(path), start=1):
        where = f"line {number}"
        if isinstance(event, ClaimEvent):
            visitors[event.token] = event.visitor.get("PROLIFIC_PID", "")
        elif isinstance(event, JudgmentEvent) and (event.token, event.item_id) not in judged:
            judged.add((event.token, event.item_id))
            participant = visitors.get(event.token, "")
            yield from maker.rows(
                where, event.model_dump(), f"slot-{event.slot}", participant=participant, slot=event.slot
            )


def read_html(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """A file saved by the HTML form."""
    data = json_of(path)
    if not isinstance(data, dict) or not isinstance(data.get("judgments"), list) or "slot" not in data:
        raise UserError(
            f"{path}: not a file saved by form.html (no slot and judgments); give the file its Save button made"
        )
    if data.get("study_id") != study.protocol.study_id:
        found = data.get("study_id")
        shown = repr(found[:40]) if isinstance(found, str) else f"({type(found).__name__})"
        raise UserError(f"{path}: belongs to study {shown}, not to {study.protocol.study_id!r}; import it there")
    asked, agreed = study.protocol.consent, data.get("consent")
    if asked is not None and not (isinstance(agreed, dict) and agreed.get("version") == asked.version):
        raise UserError(
            f"{path}: consent: does not say that its rater agreed to version {asked.version!r} of the study's text; give "
            "the file the Save button made"
        )
    slot = data["slot"]
    if isinstance(slot, bool) or not isinstance(slot, int) or not 1 <= slot <= len(study.slots):
        raise UserError(f"{path}: slot: not a number from 1 to {len(study.slots)}; give the file the Save button made")
    maker = RowMaker(study, "html", rater)
    for number, record in enumerate(data["judgments"], start=1):
        yield from maker.rows(f"judgment {number}", record, rater or f"slot-{slot}", slot=slot)


def read_csv(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """A filled-in sheet, separated by commas, semicolons or tabs; rows without an answer are skipped.

    A row may end before its optional cells. Where the sheet names nobody, it is the slot's whose items it holds.
    """
    maker = RowMaker(study, "csv", rater)
    text = text_of(path)
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    try:
        names = reader.fieldnames or []
        answer = next((n for n in ("answer", "verdict") if n in names), None)
        if "item_id" not in names or answer is None:
            raise UserError(
                f"{path}: the first line must name the columns item_id and answer; found {', '.join(names)[:200] or 'nothing'}"
            )
        numbered = [(f"line {reader.line_num}", record) for record in reader]
        whose = rater
        if not rater and not any((record.get("rater") or "").strip() for _, record in numbered):
            slot = slot_of([str(record["item_id"]) for _, record in numbered], study, path)
            if slot is not None:
                whose, text = f"slot-{slot}", f"names nobody and holds the items of slot {slot}: read as that rater's"
                yield "the file", Remark("the file", f"{text} (--rater says who else)")
        for where, record in numbered:
            if any(cell.strip() for cell in record.pop(None, None) or ()) or record[answer] is None:
                yield where, Refusal(where, "not as many cells as the header has columns")
            elif not record[answer].strip():
                yield where, Skipped(where)
            else:
                yield from maker.rows(where, {**record, "answer": record[answer]}, record.get("rater") or whose)
    except csv.Error as error:
        raise UserError(
            f"{path} line {reader.line_num}: not valid CSV ({error}); save the sheet as CSV again"
        ) from None


def slot_of(item_ids: Sequence[str], study: StudyFolder, path: Path) -> int | None:
    """The slot, from 1, whose sheet holds these items: the only one that has them all, in any order.

    Of several that do, the one with no other items, then the one in whose order they stand, then the one that the
    file is called after (`slot-03.csv`). None where that leaves several or none, as where sheets were put together.
    Items that are not in the study are left to who reads their rows.
    """
    ids = [i if i in study.items else item_written_as_number(i, study.items) for i in item_ids]
    known = [i for i in ids if i is not None]
    found = {number for number, slot in enumerate(study.slots, start=1) if known and set(known) <= set(slot)}
    named = re.fullmatch(r"slot-(\d+)", person_of(path))
    for narrower in (
        {number for number in found if set(known) == set(study.slots[number - 1])},
        {number for number in found if known == study.slots[number - 1]},
        found & {int(named[1])} if named else set(),
    ):
        if len(found) > 1 and narrower:
            found = narrower
    return found.pop() if len(found) == 1 else None


def read_doccano(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """doccano's JSONL, or its zip with a file per user. Who judged is the file's name where lines do not say."""
    maker = RowMaker(study, "doccano", rater)
    members = members_of(path, ".jsonl")
    parts = [Member("", rater or person_of(path), text_of(path))] if members is None else members
    for part in parts:
        for number, line in enumerate(part.text.split("\n"), start=1):
            if line.strip():
                yield from _doccano(maker, f"{part.name} line {number}".strip(), line, part.person)


def _doccano(maker: RowMaker, where: str, line: str, who: str) -> Iterator[Located]:
    try:
        record = json.loads(line)
        labels = record["label"] if "label" in record else record["labels"]
        item_id = record["item_id"] if "item_id" in record else record["meta"]["item_id"]
        who = record.get("annotator") or record.get("username") or who
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield where, Refusal(where, "no JSON object with label and item_id")
        return
    names = [x[-1] if isinstance(x, list) and x else x for x in labels] if isinstance(labels, list) else [labels]
    if names in ([], [None]):
        yield where, Skipped(where)
    elif len(names) > 1:
        yield where, Refusal(where, f"{len(names)} labels on one item; a judgment is one of True and False")
    else:
        yield from maker.rows(where, {"item_id": item_id, "answer": names[0]}, who)


def read_argilla(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """Argilla 2 records: responses by question, each with its user.

    Responses that say they are drafts or discarded are left out. `to_json` does not say it of any: docs/judging.md has
    the export that does.
    """
    maker = RowMaker(study, "argilla", rater)
    records = json_of(path)
    if not isinstance(records, list):
        raise UserError(
            f"{path}: not Argilla records (a JSON list); write them with dataset.records(with_responses=True).to_json"
        )
    silent = 0
    for number, record in enumerate(records, start=1):
        where = f"record {number}"
        try:
            item_id = record["id"]
            by_user: dict[str | int | None, dict[str, Any]] = {}
            for question, given in (record.get("responses") or {}).items():
                for response in given or ():
                    silent += response.get("status") is None
                    if response.get("status") in (None, "submitted"):
                        user = response.get("user_id")
                        known = user if isinstance(user, (str, int)) else None
                        by_user.setdefault(known, {})[question] = response["value"]
        except (KeyError, TypeError, AttributeError):
            yield where, Refusal(where, "no record with id and responses")
            continue
        for user, answers in by_user.items():
            place = where if user is None else f"{where} user {user}"
            if "answer" not in answers:
                yield place, Refusal(place, "no response to the question answer")
            else:
                yield from maker.rows(place, {**answers, "item_id": item_id}, user)
    if silent:
        text = (
            f"{silent} responses do not say whether they were submitted, so drafts and discarded ones count too; "
            "docs/judging.md has an export without them"
        )
        yield "the file", Remark("the file", text)


READERS: dict[str, Callable[[StudyFolder, Path, str | None], Iterator[Located]]] = {
    "html": read_html,
    "server": read_server,
    LABEL_STUDIO: read_label_studio,
    "doccano": read_doccano,
    "argilla": read_argilla,
    "csv": read_csv,
}
