"""Reading what the tools export, one function per tool: located rows, each a judgment or the reason it is none.

Layouts: Label Studio JSON and JSON-MIN; doccano JSONL, alone or zipped per user; Argilla 2 records;
CSV; the server's log; the files the HTML form saves. A file that is not that format at all raises
UserError; a single bad row does not.
"""

from __future__ import annotations

import csv
import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from legibility.errors import UserError
from legibility.judging.formats import WRONG_STEP
from legibility.judging.store import read_log
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import ClaimEvent, JudgmentEvent
from legibility.judging.table import Judgment

MAX_UNPACKED = 2**26  # bytes of judgments in a zip: a study of 10,000 items has a few


class Refusal(NamedTuple):
    """A row that was not taken: where it is, and why."""

    where: str
    reason: str


class Skipped(NamedTuple):
    """A row that holds no judgment yet (an empty answer): nothing to take, nothing wrong."""

    where: str


Row = Judgment | Refusal | Skipped
Located = tuple[str, Row]


def read_server(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """The judging server's log."""
    visitors: dict[str, str] = {}
    for number, event in enumerate(read_log(path), start=1):
        where = f"line {number}"
        if isinstance(event, ClaimEvent):
            visitors[event.token] = event.visitor.get("PROLIFIC_PID", "")
        elif isinstance(event, JudgmentEvent):
            participant = visitors.get(event.token, "")
            yield where, _row(where, event.model_dump(), "server", f"slot-{event.slot}", participant=participant)


def read_html(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """A file saved by the HTML form."""
    data = _json(path)
    if not isinstance(data, dict) or not isinstance(data.get("judgments"), list) or "slot" not in data:
        raise UserError(
            f"{path}: not a file saved by form.html (no slot and judgments); give the file its Save button made"
        )
    if data.get("study_id") != study.protocol.study_id:
        raise UserError(
            f"{path}: belongs to study {data.get('study_id')!r}, not to {study.protocol.study_id!r}; import it there"
        )
    for number, record in enumerate(data["judgments"], start=1):
        yield f"judgment {number}", _row(f"judgment {number}", record, "html", rater or f"slot-{data['slot']}")


def read_csv(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """A filled-in sheet; rows without an answer are skipped."""
    reader = csv.DictReader(io.StringIO(_text(path).removeprefix("\ufeff"), newline=""), strict=True)
    try:
        names = reader.fieldnames or []
        answer = next((n for n in ("answer", "verdict") if n in names), None)
        if "item_id" not in names or answer is None:
            raise UserError(
                f"{path}: the first line must name the columns item_id and answer; found {', '.join(names) or 'nothing'}"
            )
        for record in reader:
            where = f"line {reader.line_num}"
            if None in record or None in record.values():
                yield where, Refusal(where, "not as many cells as the header has columns")
            elif not record[answer].strip():
                yield where, Skipped(where)
            else:
                yield where, _row(where, {**record, "answer": record[answer]}, "csv", record.get("rater") or rater)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: not valid CSV ({error})") from None


def read_label_studio(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """Label Studio's JSON export (tasks with annotations) or JSON-MIN (an object per annotation)."""
    tasks = _json(path)
    if not isinstance(tasks, list):
        raise UserError(f"{path}: not a Label Studio export (a JSON list of tasks); export as JSON or JSON-MIN")
    for number, task in enumerate(tasks, start=1):
        where = f"task {task.get('id', number) if isinstance(task, dict) else number}"
        if not isinstance(task, dict) or ("annotations" not in task and "item_id" not in task):
            yield where, Refusal(where, "no annotations and no item_id")
        elif "annotations" not in task:
            yield where, _label_studio_min(where, task, rater)
        elif not isinstance(task.get("data"), dict) or "item_id" not in task["data"]:
            yield where, Refusal(where, "no item_id in its data; import the tasks of formats/label-studio")
        else:
            for k, annotation in enumerate(task["annotations"], start=1):
                place = f"{where} annotation {annotation.get('id', k) if isinstance(annotation, dict) else k}"
                yield place, _annotation(study, place, task["data"]["item_id"], annotation, rater)


def _annotation(study: StudyFolder, where: str, item_id: str, annotation: Any, rater: str | None) -> Row:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        return Refusal(where, "no result list")
    if annotation.get("was_cancelled"):
        return Skipped(where)
    record: dict[str, Any] = {"item_id": item_id, "seconds": annotation.get("lead_time")}
    for region in annotation["result"]:
        try:
            name, value = region["from_name"], region["value"]
            if name == "answer":
                (record["answer"],) = value["choices"]
            elif name == "confidence":
                record["confidence"] = value["rating"]
            elif name == "first_wrong_step" and WRONG_STEP in value.get("labels", value.get("hypertextlabels", [])):
                solution = study.items[item_id].solution if item_id in study.items else ""
                line = solution.count("\n", 0, int(value["start"])) + 1
                record["first_wrong_step"] = min(line, record.get("first_wrong_step", line))
        except (KeyError, TypeError, ValueError, AttributeError):
            return Refusal(where, f"a result that cannot be read: {json.dumps(region)[:80]}")
    if "answer" not in record:
        return Refusal(where, "no answer in its result")
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    times = {"started_at": annotation.get("created_at"), "finished_at": annotation.get("updated_at")}
    return _row(where, {**record, **times}, "label-studio", who if who is not None else rater)


def _label_studio_min(where: str, task: Mapping[str, Any], rater: str | None) -> Row:
    if not task.get("answer"):
        return Skipped(where)
    record = {
        "item_id": task["item_id"],
        "answer": task["answer"],
        "seconds": task.get("lead_time"),
        "confidence": task.get("confidence"),
        "started_at": task.get("created_at"),
        "finished_at": task.get("updated_at"),
    }
    who = task.get("annotator")
    return _row(where, record, "label-studio", who if who is not None else rater)


def read_doccano(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """doccano's JSONL, or its zip with a file per user. Who judged is the file's name where lines do not say."""
    if zipfile.is_zipfile(path):
        parts = [(PurePosixPath(n).stem, text, f"{n} ") for n, text in _members(path)]
        if not parts:
            raise UserError(f"{path}: the archive holds no .jsonl file; export from doccano as JSONL")
    else:
        parts = [(rater or path.stem, _text(path), "")]
    for who, text, prefix in parts:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                where = f"{prefix}line {number}"
                yield where, _doccano(where, line, who)


def _members(path: Path) -> list[tuple[str, str]]:
    """Name and text of each .jsonl file in a zip; an archive of a size no study has is refused before it is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.endswith(".jsonl")]
            if sum(m.file_size for m in members) > MAX_UNPACKED:  # zipfile unpacks no more than is said here
                raise UserError(
                    f"{path}: unpacks to more than {MAX_UNPACKED // 2**20} MiB, which no export of a study has; export again"
                )
            return [(m.filename, archive.read(m).decode("utf-8", "replace")) for m in members]
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: cannot be unpacked ({reason}); export it again, without a password") from None


def _doccano(where: str, line: str, who: str) -> Row:
    try:
        record = json.loads(line)
        labels = record["label"] if "label" in record else record["labels"]
        item_id = record["item_id"] if "item_id" in record else record["meta"]["item_id"]
    except (ValueError, KeyError, TypeError):
        return Refusal(where, "no JSON object with label and item_id")
    names = [x[-1] if isinstance(x, list) and x else x for x in labels] if isinstance(labels, list) else [labels]
    if not names:
        return Skipped(where)
    if len(names) > 1:
        return Refusal(where, f"{len(names)} labels on one item; a judgment is one of True and False")
    return _row(
        where,
        {"item_id": item_id, "answer": names[0]},
        "doccano",
        record.get("annotator") or record.get("username") or who,
    )


def read_argilla(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """Argilla 2 records, as `dataset.records.to_json` writes them (responses by question, each with its user)."""
    records = _json(path)
    if not isinstance(records, list):
        raise UserError(
            f"{path}: not Argilla records (a JSON list); write them with dataset.records(with_responses=True).to_json"
        )
    for number, record in enumerate(records, start=1):
        where = f"record {number}"
        try:
            item_id, responses = record["id"], record.get("responses") or {}
            by_user: dict[str, dict[str, Any]] = {}
            for question, given in responses.items():
                for response in given:
                    if response.get("status") in (None, "submitted"):
                        by_user.setdefault(str(response["user_id"]), {})[question] = response["value"]
        except (KeyError, TypeError, AttributeError):
            yield where, Refusal(where, "no record with id and responses")
            continue
        for user, given in by_user.items():
            place = f"{where} user {user}"
            if "answer" not in given:
                yield place, Refusal(place, "no response to the question answer")
            else:
                yield place, _row(place, {"item_id": item_id, **given}, "argilla", user)


READERS: dict[str, Callable[[StudyFolder, Path, str | None], Iterator[Located]]] = {
    "html": read_html,
    "server": read_server,
    "label-studio": read_label_studio,
    "doccano": read_doccano,
    "argilla": read_argilla,
    "csv": read_csv,
}


# --- One row ---------------------------------------------------------------------------------------


def _row(where: str, record: Any, tool: str, who: Any, *, participant: str = "") -> Row:
    """A judgment from a record with item_id, answer and perhaps more; a refusal that says what is wrong."""
    if not isinstance(record, Mapping):
        return Refusal(where, "not an object")
    if who is None or not str(who).strip():
        return Refusal(where, "does not say who judged; name them with --rater")
    item_id = record.get("item_id")
    if not isinstance(item_id, str) or not item_id:
        return Refusal(where, "no item_id")
    verdict = {"true": True, "false": False}.get(str(record.get("answer")).strip().lower())
    if verdict is None:
        return Refusal(where, f"answer {str(record.get('answer'))[:40]!r} is neither True nor False")
    try:
        seconds = _number(record.get("seconds"), "seconds", 0, 1e7)
        confidence = _whole(record.get("confidence"), "confidence", 1, 5)
        line = _whole(record.get("first_wrong_step"), "first_wrong_step", 1, 10**6)
    except ValueError as error:
        return Refusal(where, str(error))
    return Judgment(
        item_id=item_id,
        rater=f"{tool}:{str(who).strip()}",
        verdict=verdict,
        seconds=seconds,
        timed_out=record.get("timed_out") is True,
        confidence=confidence,
        first_wrong_step=line,
        tool=tool,
        participant=participant,
        started_at=str(record.get("started_at") or ""),
        finished_at=str(record.get("finished_at") or ""),
    )


def _number(value: Any, name: str, low: float, high: float) -> float | None:
    """A number in range, or None where it is left out. Raises ValueError for anything else."""
    if _left_out(value):
        return None
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not low <= number <= high:
        raise ValueError(f"{name} {str(value)[:40]!r} is not a number from {low:g} to {high:g}")
    return number


def _whole(value: Any, name: str, low: int, high: int) -> int | None:
    """A whole number in range, or None where it is left out. Raises ValueError for anything else."""
    if _left_out(value):
        return None
    try:
        number = int(value)
        fits = low <= number <= high and (not isinstance(value, float) or value == number)
    except (ValueError, TypeError, OverflowError):
        fits = False
    if isinstance(value, bool) or not fits:
        raise ValueError(f"{name} {str(value)[:40]!r} is not a whole number from {low:g} to {high:g}")
    return number


def _left_out(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
