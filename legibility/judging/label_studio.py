"""Reading Label Studio: its JSON export (tasks with annotations) and JSON-MIN (an object per annotation).

Regions of a text are counted there in UTF-16 units, as JavaScript does; annotators come as a number, as a record with
number and address, or, once deleted, as nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.judging.formats import WRONG_STEP
from legibility.judging.study_folder import StudyFolder
from legibility.judging.tool_rows import Located, Refusal, Remark, RowMaker, Skipped, shortened
from legibility.judging.tool_text import json_of

LABEL_STUDIO = "label-studio"


def read_label_studio(study: StudyFolder, path: Path, rater: str | None) -> Iterator[Located]:
    """The rows of an export. Drafts, skipped tasks and relations between regions hold no judgment."""
    tasks = json_of(path)
    if not isinstance(tasks, list):
        raise UserError(f"{path}: not a Label Studio export (a JSON list of tasks); export as JSON or JSON-MIN")
    maker = RowMaker(study, LABEL_STUDIO, rater)
    addresses = _addresses(tasks)
    for number, task in enumerate(tasks, start=1):
        where = _place("task", task, number)
        if not isinstance(task, dict) or ("annotations" not in task and "item_id" not in task):
            yield where, Refusal(where, "no annotations and no item_id")
        elif "annotations" not in task:
            yield from _minimal(maker, where, task, addresses)
        elif not isinstance(task.get("data"), dict) or "item_id" not in task["data"]:
            yield where, Refusal(where, "no item_id in its data; import the tasks of formats/label-studio")
        else:
            yield from _task(maker, where, task, addresses)


def _task(maker: RowMaker, where: str, task: Mapping[str, Any], addresses: Mapping[str, str]) -> Iterator[Located]:
    annotations, drafts = task["annotations"], task.get("drafts")
    if drafts and isinstance(drafts, list):
        yield where, Remark(where, f"{len(drafts)} drafts that were never submitted; left out")
    if not annotations:  # null or empty: nobody has judged it
        yield where, Skipped(where)
    elif not isinstance(annotations, list):
        yield where, Refusal(where, "annotations is not a list")
    else:
        for number, annotation in enumerate(annotations, start=1):
            place = f"{where} {_place('annotation', annotation, number)}"
            yield from _annotation(maker, place, task["data"]["item_id"], annotation, addresses)


def _annotation(
    maker: RowMaker, where: str, item_id: Any, annotation: Any, addresses: Mapping[str, str]
) -> Iterator[Located]:
    if isinstance(annotation, dict) and (annotation.get("was_cancelled") or annotation.get("draft") is True):
        yield where, Skipped(where)
        return
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        yield where, Refusal(where, "no result list")
        return
    record: dict[str, Any] = {"item_id": item_id, "seconds": annotation.get("lead_time")}
    answers, marks = [], []
    for region in annotation["result"]:
        name = region.get("from_name") if isinstance(region, dict) else None
        try:
            if name == "answer":
                answers.append(_answer(region["value"]))
            elif name == "confidence":
                record["confidence"] = region["value"]["rating"]
            elif name == "first_wrong_step":
                marks.append(region["value"])
        except (KeyError, TypeError, ValueError):
            if name == "answer":
                yield where, Refusal(where, f"a result that cannot be read: {shortened(region)}")
                return
            yield where, Remark(where, f"a result that cannot be read: {shortened(region)}; left out")
    if len(set(answers)) != 1:
        reason = "no answer in its result" if not answers else "two different answers in its result"
        yield where, Refusal(where, reason)
        return
    record["answer"] = answers[0]
    record["started_at"], record["finished_at"] = annotation.get("created_at"), annotation.get("updated_at")
    yield from _with_mark(maker, where, record, marks, _who(annotation.get("completed_by"), addresses))


def _minimal(maker: RowMaker, where: str, task: Mapping[str, Any], addresses: Mapping[str, str]) -> Iterator[Located]:
    if not task.get("answer"):
        yield where, Skipped(where)
        return
    try:
        answer = _answer(task["answer"])
    except (KeyError, TypeError, ValueError):
        yield where, Refusal(where, f"an answer that cannot be read: {shortened(task['answer'])}")
        return
    record = {
        "item_id": task["item_id"],
        "answer": answer,
        "seconds": task.get("lead_time"),
        "confidence": task.get("confidence"),
        "started_at": task.get("created_at"),
        "finished_at": task.get("updated_at"),
    }
    marks = task.get("first_wrong_step")
    yield from _with_mark(
        maker, where, record, marks if isinstance(marks, list) else [], _who(task.get("annotator"), addresses)
    )


def _with_mark(maker: RowMaker, where: str, record: dict[str, Any], marks: list[Any], who: Any) -> Iterator[Located]:
    """The rows of a record, with the first marked line."""
    item = maker.study.items.get(str(record["item_id"])) if isinstance(record["item_id"], (str, int)) else None
    lines = []
    for mark in marks:
        try:
            labelled = mark.get("labels") or mark.get("hypertextlabels") or []
            if WRONG_STEP in labelled and item is not None:
                lines.append(marked_line(item.solution, mark["start"], mark.get("text")))
        except (KeyError, TypeError, ValueError, AttributeError):
            yield where, Remark(where, f"a mark that cannot be read: {shortened(mark)}; left out")
    yield from maker.rows(where, {**record, "first_wrong_step": min(lines, default=None)}, who)


def marked_line(solution: str, start: Any, text: Any = None) -> int:
    """The line of the solution, from 1, where a region begins.

    start: offset in UTF-16 units (an emoji counts two). text: what the region holds; where it fits an offset in
    characters and not one in UTF-16 units, some other program counted. Raises ValueError outside the solution.
    """
    offset = int(start)
    units = solution.encode("utf-16-le", "surrogatepass")
    if isinstance(start, bool) or not 0 <= offset <= len(units) // 2:
        raise ValueError(f"start {offset} is outside the solution")
    before = units[: 2 * offset].decode("utf-16-le", "replace")
    if isinstance(text, str) and text:
        there = units[2 * offset :].decode("utf-16-le", "replace")
        if not there.startswith(text) and solution[offset:].startswith(text):
            before = solution[:offset]
    return before.count("\n") + 1


def _answer(value: Any) -> str:
    """The one choice of a region, or of a JSON-MIN cell. Raises KeyError, TypeError or ValueError where there is not one."""
    if isinstance(value, dict):
        value = value["choices"]
    if isinstance(value, list):
        (value,) = value
    if not isinstance(value, (str, bool)):
        raise TypeError(value)
    return str(value)


def _addresses(tasks: list[Any]) -> dict[str, str]:
    """Number of an annotator -> address, where some annotation of the file tells both: it is one person."""
    found: dict[str, str] = {}
    for task in tasks:
        annotations = task.get("annotations") if isinstance(task, dict) else None
        people = (
            [a.get("completed_by") for a in annotations if isinstance(a, dict)] if isinstance(annotations, list) else []
        )
        people += [task.get("annotator")] if isinstance(task, dict) else []
        for person in people:
            if isinstance(person, dict) and isinstance(person.get("email"), str) and person["email"].strip():
                found.setdefault(str(person.get("id")), person["email"])
    return found


def _who(person: Any, addresses: Mapping[str, str]) -> Any:
    """An annotator's address where the file tells it, else their number; None for one who was deleted."""
    if isinstance(person, dict):
        person = person.get("email") or person.get("id")
    return addresses.get(str(person), person) if isinstance(person, (str, int)) else None


def _place(kind: str, record: Any, number: int) -> str:
    own = record.get("id") if isinstance(record, dict) else None
    return f"{kind} {own if isinstance(own, (str, int)) else number}"
