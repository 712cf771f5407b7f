"""Spoiled files of raters' tools and of study settings, and what must come of them whatever is in them.

A strategy draws the bytes of a file or a request; a check reads them and raises AssertionError for anything but a
result or one line. `check_import`, `check_protocol` and `check_request` take what `tool_files`, `protocol_files` and
`requests` draw.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from legibility.errors import UserError, as_line
from legibility.judging.importing import import_judgments
from legibility.judging.protocol import Protocol, read_protocol
from legibility.judging.readers import READERS
from legibility.judging.server import application
from legibility.judging.store import Store, read_log
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE, read_table
from legibility.printable import printable
from tests.judging import tool_files as examples

NAMES = [
    "item_id",
    "answer",
    "verdict",
    "rater",
    "seconds",
    "confidence",
    "first_wrong_step",
    "timed_out",
    "started_at",
    "finished_at",
    "slot",
    "study_id",
    "judgments",
    "event",
    "token",
    "visitor",
    "PROLIFIC_PID",
    "at",
    "time",
    "label",
    "labels",
    "meta",
    "annotator",
    "username",
    "id",
    "data",
    "annotations",
    "result",
    "from_name",
    "value",
    "choices",
    "rating",
    "start",
    "text",
    "completed_by",
    "email",
    "was_cancelled",
    "drafts",
    "lead_time",
    "created_at",
    "updated_at",
    "responses",
    "user_id",
    "status",
    "type",
]
ODD_TEXT = [
    "True", "false", "", " ", "4.0", "1e999", "nan", "-1", "=1+1", "None", "\x00", "\x1b[2J", "\u202e", "\ud800", "🙂\n",
    "answer", "first_wrong_step", "First wrong step", "submitted", "server", "claim", "judgment", "9" * 5000,
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from(ODD_TEXT),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=4)), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip
DEEP = st.builds(
    lambda depth, pair: pair[0] * depth + pair[1] * depth,
    st.sampled_from([900, 200_000]),
    st.sampled_from(["[]", ('[{"a":', "}]")]),
)


def _dumped(value: Any) -> bytes:
    """JSON as careless programs write it: nan and infinity, and halves of surrogate pairs, as they come."""
    return json.dumps(value).encode()


@st.composite
def spoiled_json(draw: st.DrawFn, value: Any) -> Any:
    """A value with one to four of its parts replaced, removed, or said twice."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 4))):
        spots = list(_spots(value))
        if not spots:
            return draw(VALUES)
        holder, key = draw(st.sampled_from(spots))
        what = draw(st.sampled_from(["replace", "remove", "repeat"]))
        if what == "remove":
            del holder[key]
        elif what == "repeat" and isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[key] = draw(VALUES)
    return value


def _spots(value: Any) -> Any:
    """Every (list or dictionary, index or key) in a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _spots(value[key])


@st.composite
def spoiled_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A file that was cut, overwritten in places, or had something put between."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        odd = draw(
            st.one_of(st.binary(max_size=6), st.sampled_from([t.encode("utf-8", "surrogatepass") for t in ODD_TEXT]))
        )
        what = draw(st.sampled_from(["cut", "overwrite", "insert"]))
        if what == "cut":
            del content[at:]
        else:
            content[at : at + (len(odd) if what == "overwrite" else 0)] = odd
    return bytes(content)


MAKERS = {
    "html": examples.form_file,
    "label-studio": examples.label_studio_file,
    "label-studio minimal": examples.label_studio_min_file,
    "doccano": examples.doccano_file,
    "argilla": examples.argilla_file,
    "csv": examples.csv_sheet,
}


def good_files(study: StudyFolder, folder: Path) -> list[tuple[str, bytes]]:
    """(format, content) of a whole export of every tool, and of a server's log."""
    found = [(name.split()[0], make(study, folder).read_bytes()) for name, make in MAKERS.items()]
    item = study.slots[0][0]
    rater = {"slot": 1, "token": "t"}
    judgment = {
        "event": "judgment", **rater, "item_id": item, "answer": True, "seconds": 1.5, "timed_out": False,
        "confidence": 3, "first_wrong_step": None, "started_at": "2026-01-01T00:00:00.000+00:00",
        "finished_at": "2026-01-01T00:00:01.500+00:00", "at": "2026-01-01T00:00:01.500+00:00",
    }  # fmt: skip
    events = [
        {"event": "claim", **rater, "visitor": {"PROLIFIC_PID": "P"}, "at": "2026-01-01T00:00:00.000+00:00"},
        {"event": "shown", **rater, "item_id": item, "time": 1.0, "at": "2026-01-01T00:00:00.000+00:00"},
        judgment,
    ]
    return [*found, ("server", b"".join(_dumped(e) + b"\n" for e in events))]


def tool_files(good: list[tuple[str, bytes]]) -> st.SearchStrategy[tuple[str, bytes]]:
    """(format, content): whole exports with spoiled parts or bytes, nonsense, and endless nesting. good: `good_files`."""
    spoiled = []
    for tool, content in good:
        spoiled.append(st.tuples(st.just(tool), spoiled_bytes(content)))
        for data in _parsed(content):
            spoiled.append(st.tuples(st.just(tool), spoiled_json(data).map(partial(_like, content))))
    nonsense = st.tuples(
        st.sampled_from(sorted(READERS)), st.one_of(st.binary(max_size=60), VALUES.map(_dumped), DEEP.map(str.encode))
    )
    return st.one_of(*spoiled, nonsense)


def _parsed(content: bytes) -> list[Any]:
    """The JSON of a file, the list of its lines' where each is JSON; empty for another format."""
    try:
        return [json.loads(content)]
    except ValueError:
        pass
    try:
        return [[json.loads(line) for line in content.splitlines()]]
    except ValueError:
        return []


def _like(content: bytes, value: Any) -> bytes:
    """A value written as the file was: whole, or a line for each part."""
    try:
        json.loads(content)
    except ValueError:
        return b"".join(_dumped(part) + b"\n" for part in value) if isinstance(value, list) else _dumped(value)
    return _dumped(value)


def check_import(study: StudyFolder, folder: Path, tool: str, content: bytes) -> str:
    """Import a file twice. "taken": the table grew by what was added, and the second time by nothing. "refused": one
    line that names the file, and nothing changed. folder: where the file is put, under a name of its own."""
    path = folder / "export"
    path.write_bytes(content)
    table = study.path / TABLE
    table.unlink(missing_ok=True)
    try:
        done = import_judgments(study, path, tool)
    except UserError as error:
        line = as_line(error)
        assert line is not None and str(path) in line and printable(line) == line
        assert not table.exists()
        return "refused"
    frame = read_table(table)
    assert len(frame) == done.added == done.total and set(frame.item_id) <= set(study.items)
    assert not frame.duplicated(["rater", "item_id"]).any()
    assert not frame.rater.str.contains(r"[\x00-\x1f\ud800-\udfff]").any()
    again = import_judgments(study, path, tool)
    assert again.added == 0 and len(again.refused) == len(done.refused)
    return "taken"


def protocol_files() -> st.SearchStrategy[bytes]:
    """Settings of a study: spoiled, of the wrong types, nested without end, or no YAML at all."""
    whole = Protocol().model_dump(mode="json")
    text = Protocol().to_yaml().encode()
    odd = [
        b"{[",
        b"- a",
        b"a: 2024-99-99",
        b"a: !!python/object:x {}",
        b"? [a]\n: b",
        b"\xff\xfe",
        b"&a [*a]",
        b'title: "\\ud800"',
        b"? {a: b}\n: c",
    ]
    return st.one_of(
        spoiled_json(whole).map(_dumped),
        spoiled_bytes(text),
        DEEP.map(str.encode),
        st.sampled_from(odd),
        st.binary(max_size=40),
    )


def check_protocol(folder: Path, content: bytes) -> str:
    """Read study settings. "taken": they can be written and are the same read back. "refused": one line that names the file."""
    path = folder / "protocol.yaml"
    path.write_bytes(content)
    try:
        found = read_protocol(path)
    except UserError as error:
        line = as_line(error)
        assert line is not None and str(path) in line and printable(line) == line
        return "refused"
    path.write_text(found.to_yaml(), encoding="utf-8")
    assert read_protocol(path) == found
    return "taken"


def requests(item_id: str, token: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """(path, body) of requests to the judging server: whole ones with spoiled parts or bytes, and nonsense."""
    whole = {
        "/api/start": {"token": None, "invite": None, "start_id": "0" * 32, "visitor": {"PROLIFIC_PID": "P"}},
        "/api/show": {"token": token},
        "/api/answer": {
            "token": token, "item_id": item_id, "answer": True, "seconds": 1.0, "timed_out": False, "confidence": 3,
            "first_wrong_step": 1,
        },
    }  # fmt: skip
    spoiled = [
        st.tuples(st.just(path), drawn)
        for path, body in whole.items()
        for drawn in (spoiled_json(body).map(_dumped), spoiled_bytes(_dumped(body)))
    ]
    nonsense = st.one_of(st.binary(max_size=40), VALUES.map(_dumped), DEEP.map(str.encode))
    return st.one_of(*spoiled, st.tuples(st.sampled_from(sorted(whole)), nonsense))


def check_request(store: Store, path: str, body: bytes) -> int:
    """Send a request; returns its status. Served or refused in one sentence, and what is logged can be replayed."""
    status, reply = asyncio.run(_reply(application(store), path, body))
    assert status in (200, 400, 403, 409, 413, 429), (status, reply)
    assert status == 200 or list(json.loads(reply)) == ["error"]
    assert all(s.slot < len(store.study.slots) for s in store.sessions.values())
    assert len(read_log(store.path)) >= len(store.sessions)
    return status


async def _reply(app: Any, path: str, body: bytes) -> tuple[int, bytes]:
    """What an ASGI application says to a POST of JSON."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"content-type", b"application/json")],
        "client": ("10.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:])
