"""Files of records as people have them: read, or one line that names the file, the line and the fix."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from legibility.errors import UserError
from legibility.problems import record_files
from legibility.problems.record_files import read_file, short
from legibility.problems.sources import FileSource, load_source

ROWS = [{"question": f"Café {i}?", "answer": i} for i in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TABLE = "question,answer\n" + "".join(f"Café {i}?,{i}\n" for i in range(3))


def zst(raw: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zst,
}


def answers(path: Path) -> list[tuple[str, str]]:
    return [(p.question, p.answer) for p in load_source(FileSource(path=str(path)))]


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_source(FileSource(path=str(path)))
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and len(message) < 600
    return message


EXPECTED = [(f"Café {i}?", str(i)) for i in range(3)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.json", LINES.encode()),  # JSON lines by another name
        ("lines.json", LINES.replace("\n", "\r\n").encode()),
        ("list.json", json.dumps(ROWS).encode("utf-8-sig")),
        ("lines.json", LINES.encode("utf-8-sig")),
        ("lines.jsonl", LINES.encode("utf-8-sig")),
        ("table.csv", TABLE.encode("utf-8-sig")),
        ("table.csv", TABLE.replace("\n", "\r\n").encode()),
        ("table.csv", b"\n\n" + TABLE.encode()),
        ("table.csv", TABLE.replace(",", ";").encode("utf-8-sig")),  # what Excel writes where the comma is decimal
        ("table.csv", TABLE.replace(",", "\t").encode()),
        ("table.tsv", TABLE.replace(",", "\t").encode()),
        ("TABLE.CSV", TABLE.encode()),
    ],
)
def test_what_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert answers(tmp_path / name) == EXPECTED


@pytest.mark.parametrize("packing", sorted(PACK))
@pytest.mark.parametrize(
    ("name", "text"), [("lines.jsonl", LINES), ("list.json", json.dumps(ROWS)), ("table.csv", TABLE)]
)
def test_packed_files(tmp_path, packing, name, text):
    path = tmp_path / (name + packing)
    path.write_bytes(PACK[packing](text.encode()))
    assert answers(path) == EXPECTED
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert any(part in refusal(path) for part in ("cannot be unpacked", "not valid JSON", "holds no problems"))
    path.write_bytes(b"not packed at all")
    assert "cannot be unpacked" in refusal(path)


def test_zip_of_one_file(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/table.csv", TABLE)
        archive.writestr("__MACOSX/._table.csv", "x")
    assert answers(path) == EXPECTED
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other.csv", TABLE)
    assert "must hold one" in refusal(path)
    path.write_bytes(b"PK\x03\x04 broken")
    assert "cannot be unpacked" in refusal(path)


@pytest.mark.parametrize("name", ["bomb.jsonl.gz", "bomb.json.gz", "bomb.csv.zst", "bomb.zip"])
def test_a_small_file_does_not_fill_the_memory(tmp_path, monkeypatch, name):
    for limit in ("MAX_UNPACKED", "MAX_JSON_LIST", "MAX_LINE"):
        monkeypatch.setattr(record_files, limit, 2**20)
    path = tmp_path / name
    blank = b" \n" * 2**23 if "csv" not in name else b"a,b\n" + b"1,2\n" * 2**22
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.jsonl", blank)
    else:
        path.write_bytes(PACK[path.suffix](blank))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    with pytest.raises(UserError, match="unpacks to more than 1 MiB; if that is meant, unpack it"):
        for _ in read_file(path):
            pass
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(record_files, "MAX_LINE", 2**10)
    path = tmp_path / "line.jsonl"
    path.write_text(LINES + '"' + "x" * 5000)
    assert "line 4: longer than" in refusal(path)


def test_parquet(tmp_path):
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    assert answers(path) == EXPECTED
    rows = [{"question": "Q?", "answer": Decimal("1.50")}, {"question": None, "answer": Decimal(2)}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert next(read_file(path))[1] == rows[0]
    assert f"{path} row 2: field 'question' must hold text or a number, found None" in refusal(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a readable Parquet file" in refusal(path)
    (tmp_path / "table.parquet.gz").write_bytes(gzip.compress(b"PAR1", mtime=0))
    assert "packed inside; unpack it" in refusal(tmp_path / "table.parquet.gz")


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("sheet.xlsx", b"PK\x03\x04", ["save the sheet as CSV"]),
        ("sheet.xls", b"", ["save the sheet as CSV"]),
        ("sheet.csv", b"PK\x03\x04rest", ["an Excel file", "right ending"]),
        ("lines.jsonl", gzip.compress(b"{}", mtime=0), ["gzip data", "right ending"]),
        ("table.csv", TABLE.encode("utf-16"), ["UTF-16", "save the file as UTF-8"]),
        ("table.csv", TABLE.encode("cp1252"), ["line", "not UTF-8 text", "iconv -f cp1252"]),
        ("table.csv", TABLE.replace(",", ";").encode("cp1252"), ["not UTF-8 text", "CSV UTF-8"]),
        ("lines.jsonl", LINES.encode("cp1252"), ["line 1", "not UTF-8 text at byte", "iconv -f cp1252"]),
        ("list.json", json.dumps(ROWS, ensure_ascii=False).encode("cp1252"), ["not UTF-8 text", "iconv"]),
        ("list.json", b'[{"question": "Q?", "answer": 1},\n]', ["line 2", "remove the comma"]),
        ("list.json", b'[\n{"question": "Q?", "answer": 1,}\n]', ["line 2", "remove the comma"]),
        ("lines.jsonl", b'{"question": "Q?", "answer": 1},\n', ["line 1", "remove the comma"]),
        ("lines.json", b'{"question": "Q?", "answer": 1},\n{"question": "R?"}\n', ["line 1", "remove the comma"]),
        ("lines.jsonl", b'[{"question": "Q?", "answer": 1}]', ["line 1", "expected an object", "into a .json file"]),
        ("list.json", b"[" * 100_000, ["nested too deeply"]),
        ("list.json", b'[{"question": "Q?", "answer": ' + b"[" * 900 + b"]" * 900 + b"}]", ["record 1", "'answer'"]),
        ("list.json", b'[{"question": "Q?", "answer": ' + b"9" * 9999 + b"}]", ["not valid JSON"]),
        ("list.json", b"nan", ["not valid JSON"]),
        ("list.json", b'"text"', ["expected a list of objects, found str"]),
        ("list.json", b"NaN", ["expected a list of objects, found float"]),
        ("list.json", b'{"a": {"b": 1}}', ["record 1: no field 'question'"]),
        ("lines.jsonl", b'{"question": "Q?", "answer": 1e999}', ["line 1", "'inf'", "not a number"]),
        ("lines.jsonl", b'{"question": NaN, "answer": 1}', ["line 1", "'question'", "'nan'", "fill it in"]),
        ("lines.jsonl", b'{"question": {"a": [1]}, "answer": 1}', ["line 1", "must hold text", "name another field"]),
        ("lines.jsonl", b'{"\\u001b[31m": 1}', ["no field 'question'"]),
        (
            "wide.csv",
            ",".join(f"c{i}" for i in range(5000)).encode() + b"\n" + b"1," * 4999 + b"1\n",
            ["no field", "c19, …"],
        ),
        ("wide.csv", b"question,answer\n" + b"x" * 200_000 + b",1\n", ["line 2", "not valid CSV"]),
        ("semi.csv", b"question;answer\nQ?;1,200\n", ["line 2", "decimal or a thousands comma"]),
        ("semi.csv", b"question;answer\nQ?;1,5\n", ["line 2", "'1,5'", "not a number"]),
        ("noformat", b"", ["cannot tell the format", ".gz, .zst or .zip"]),
        ("table.csv.lz4", b"", ["cannot tell the format"]),
    ],
)
def test_what_is_refused_says_what_to_do(tmp_path, name, content, parts):
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("path", ["~no-such-user-anywhere/x.jsonl", "a\0b.jsonl", "x" * 5000 + ".jsonl"])
def test_paths_that_no_system_has(path):
    with pytest.raises(UserError):
        load_source(FileSource(path=path))


def test_values_in_messages_are_short():
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    wide = {str(i): "x" * 1000 for i in range(1000)}
    for value in (deep, wide, "x" * 10**6, 10**3000, "é" * 500, "\x1b" * 500, b"x" * 5000):
        assert len(short(value)) < 200
    assert short("a dozen") == "'a dozen'"
