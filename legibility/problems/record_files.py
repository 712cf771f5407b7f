"""Files of records: JSON lines, a JSON list, CSV and other tables, Parquet; packed or not.

`read_file` tells the format by the file's name and checks it against the content. What could be read in two ways
or not at all stops with one line that names the file, the line and the fix; nothing is read wrongly in silence.
Packed files are read as a stream of bounded size, so that a small file cannot fill the memory.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import reprlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO

from legibility.errors import UserError
from legibility.files import refuse_pipe

Row = Mapping[Any, Any]
Located = tuple[str, Row]  # ("file.jsonl line 7", the record there)

FORMATS = ".jsonl, .json, .csv, .tsv or .parquet"
PACKINGS = (".gz", ".zst", ".bz2", ".xz", ".zip")
MAX_UNPACKED = 2**30  # bytes that a packed file is read for
MAX_JSON_LIST = 2**27  # the same where all of it must be in memory at once
MAX_LINE = 2**26  # bytes of a line of JSON lines
MAX_EMPTY = 10**6  # empty lines; a small packed file can hold a billion, which would take minutes
SAVE_AS_UTF8 = "save the file as UTF-8 (in Excel: CSV UTF-8; or iconv -f cp1252 -t utf-8 OLD > NEW)"
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")

_MAGIC = {  # the first bytes of what is often misnamed
    b"PK\x03\x04": "a zip archive or an Excel file",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstandard data",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


class SemicolonRow(dict[str, str]):
    """A row of a table separated by semicolons, where a comma in a number may be the decimal mark."""


def read_file(path: Path) -> Iterator[Located]:
    """The records of a file, each with where it stands ("file.jsonl line 7").

    Reads JSON lines, a JSON list of objects, tables separated by comma, semicolon or tab with a header, and Parquet,
    all but the last also packed (.gz, .zst, .bz2, .xz, or a .zip of one file). Raises UserError where it cannot.
    """
    name = path.name.lower()
    packing = next((p for p in PACKINGS if name.endswith(p)), "")
    kind = Path(name.removesuffix(packing)).suffix
    if kind in SPREADSHEETS:
        raise UserError(f"{path}: spreadsheets are not read; save the sheet as CSV (in Excel: CSV UTF-8)")
    if packing != ".zip" and kind not in (*_READERS, ".parquet"):
        raise UserError(
            f"{path}: cannot tell the format; the file must end in {FORMATS}, perhaps with .gz, .zst or .zip behind"
        )
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file; check path: in the problem source")
        refuse_pipe(path)
        if kind == ".parquet":
            if packing:
                raise UserError(f"{path}: a Parquet file is packed inside; unpack it and give the .parquet file")
            yield from _read_parquet(path)
            return
        with ExitStack() as stack:
            file, kind = _open(path, packing, kind, stack)
            yield from _READERS[kind](file, path)
    except (OSError, ValueError) as error:  # ValueError: a path no system can have
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({' '.join(reason.split())[:120]}); check the file") from error


def short(value: object) -> str:
    """A value of any size and depth as a few characters of Python, for messages."""
    if isinstance(value, str):
        return repr(value) if len(repr(value[:60])) <= 60 and len(value) <= 60 else f"{repr(value[:60])[:56]}'..."
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 40, 60


# ---------------------------------------------------------------- packed files


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, up to a limit."""

    def __init__(self, source: Any, path: Path, limit: int) -> None:
        self.source, self.path, self.left, self.limit = source, path, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            found = self.source.read(min(len(buffer), 2**16))
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UserError(f"{self.path}: cannot be unpacked ({reason}); unpack it and give the file inside") from None
        self.left -= len(found)
        if self.left < 0:
            raise UserError(
                f"{self.path}: unpacks to more than {self.limit // 2**20:,} MiB; if that is meant, unpack it and give "
                "the file inside, as JSON lines where it is one JSON list"
            )
        buffer[: len(found)] = found
        return len(found)


def _open(path: Path, packing: str, kind: str, stack: ExitStack) -> tuple[BinaryIO, str]:
    """The file's bytes, unpacked, and the format of what is inside. Raises UserError, OSError."""
    source: Any
    if not packing:
        plain = stack.enter_context(path.open("rb"))
        _check_start(plain.peek(8), path, kind)
        return plain, kind
    if packing == ".zip":
        source, kind = _only_member(path, stack)
    elif packing == ".zst":
        import pyarrow

        source = stack.enter_context(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"))
    else:
        opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[packing]
        source = stack.enter_context(opener(path, "rb"))
    limit = MAX_JSON_LIST if kind == ".json" else MAX_UNPACKED
    unpacked = io.BufferedReader(_Unpacked(source, path, limit), 2**16)
    _check_start(unpacked.peek(8), path, kind)
    return unpacked, kind


def _only_member(path: Path, stack: ExitStack) -> tuple[IO[bytes], str]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
        if len(members) != 1 or Path(members[0].filename.lower()).suffix not in _READERS:
            raise UserError(
                f"{path}: a .zip must hold one .jsonl, .json, .csv or .tsv file and nothing else; unpack it and give "
                "the file inside"
            )
        return stack.enter_context(archive.open(members[0])), Path(members[0].filename.lower()).suffix
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:  # broken, encrypted, packed in an unknown way
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: cannot be unpacked ({reason}); unpack it and give the file inside") from None


def _check_start(start: bytes, path: Path, kind: str) -> None:
    for magic, what in _MAGIC.items():
        if start.startswith(magic):
            fix = SAVE_AS_UTF8 if "UTF-16" in what else "give the file its right ending, or the file inside"
            raise UserError(f"{path}: holds {what}, not {kind} in UTF-8; {fix}")


# ---------------------------------------------------------------- JSON


def _read_jsonl(file: BinaryIO, path: Path) -> Iterator[Located]:
    number = empty = 0
    while raw := file.readline(MAX_LINE + 1):  # lines end at \n only: JSON text may hold other line separators
        number += 1
        where = f"{path} line {number}"
        if len(raw) > MAX_LINE:
            raise UserError(f"{where}: longer than {MAX_LINE // 2**20} MiB; write one record a line")
        if raw.strip():
            yield where, _object(_parse_json(raw, where, "fix or remove the line"), where)
        else:
            empty = _one_more_empty(empty, path)


def _one_more_empty(count: int, path: Path) -> int:
    if count >= MAX_EMPTY:
        raise UserError(
            f"{path}: more than {MAX_EMPTY:,} empty lines; check whether it is the right file, or remove them"
        )
    return count + 1


def _read_json(file: BinaryIO, path: Path) -> Iterator[Located]:
    """A list of objects, or JSON lines under this name."""
    raw = file.read()
    try:
        records = _parse_json(raw, str(path), "fix the file")
    except UserError:
        first = raw.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n", 1)[0]
        if not (first.startswith(b"{") and first.rstrip().endswith((b"}", b"},"))):
            raise
        yield from _read_jsonl(io.BytesIO(raw), path)
        return
    if isinstance(records, dict):  # one record, or a list somewhere inside
        listed = next((k for k, v in records.items() if isinstance(v, list) and v and isinstance(v[0], dict)), None)
        if listed is None:
            yield f"{path} record 1", records
            return
        raise UserError(f"{path}: expected a list of objects, found one under {short(listed)}; save that list alone")
    if not isinstance(records, list):
        raise UserError(
            f"{path}: expected a list of objects, found {type(records).__name__}; write one, or an object a line"
        )
    for number, record in enumerate(records, start=1):
        where = f"{path} record {number}"
        yield where, _object(record, where)


class _TwoOfOneName(Exception):
    """An object with two fields of one name, of which JSON readers keep the last without a word."""


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _TwoOfOneName(next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1))
    return fields


def _parse_json(raw: bytes, where: str, advice: str) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_fields)
    except _TwoOfOneName as error:
        reason, advice = f"two fields have the name {short(str(error))}", "rename one, or remove it"
    except json.JSONDecodeError as error:
        spot = f"line {error.lineno} column {error.colno}" if b"\n" in raw.strip() else f"column {error.colno}"
        reason = f"{error.msg} at {spot}"
        if _trailing_comma(error.doc, error.pos):
            advice = "remove the comma there, behind which nothing comes"
    except UnicodeDecodeError as error:
        reason, advice = f"not UTF-8 text at byte {error.start}", SAVE_AS_UTF8
    except RecursionError:
        reason = "brackets nested too deeply"
    except ValueError as error:  # an integer beyond Python's limit
        reason = " ".join(str(error).split())[:120]
    raise UserError(f"{where}: not valid JSON ({reason}); {advice}")


def _trailing_comma(text: str, place: int) -> bool:
    """Whether what is wrong at `place` is a comma before a closing bracket, or behind a record."""
    if text[place : place + 1] == ",":
        return re.match(r",\s*(?:[\]}]|$)", text[place : place + 100]) is not None
    return text[place : place + 1] in ("]", "}") and text[max(0, place - 100) : place].rstrip().endswith(",")


def _object(record: Any, where: str) -> Row:
    if not isinstance(record, dict):
        hint = "; a list of objects belongs into a .json file" if isinstance(record, list) else "; fix or remove it"
        raise UserError(f"{where}: expected an object with fields, found {short(record)}{hint}")
    return record


# ---------------------------------------------------------------- tables


def _read_csv(file: BinaryIO, path: Path, separator: str | None = None) -> Iterator[Located]:
    """A table with a header. The separator is a comma, or the semicolon or tab that the header has more of."""
    lines = iter(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    columns: list[str] | None = None
    where, empty = f"{path} line 1", 0
    try:
        head = [next(lines, "")]
        while head[-1].strip() == "" and head[-1]:
            empty = _one_more_empty(empty, path)
            head.append(next(lines, ""))
        separator = separator or _separator(head[-1])
        make = SemicolonRow if separator == ";" else dict
        reader = csv.reader(chain(head, lines), strict=True, delimiter=separator)
        while True:
            where = f"{path} line {reader.line_num + 1}"  # where the record starts; a quoted cell may span lines
            cells = next(reader, None)
            if cells is None:
                return
            if not cells:  # a blank line
                empty = _one_more_empty(empty, path)
                continue
            if columns is None:
                columns = cells
                if len(set(columns)) < len(columns):
                    raise UserError(f"{where}: two columns have the same name; rename one")
                continue
            if len(cells) > len(columns):
                raise UserError(f"{where}: more cells than the header has columns; quote cells that hold a comma")
            yield where, make(zip(columns, cells, strict=False))  # a short row lacks its last fields
    except csv.Error as error:
        raise UserError(
            f"{where}: not valid CSV ({error}); fix the file, perhaps a quote that is not closed"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{where} or soon after: not UTF-8 text; {SAVE_AS_UTF8}") from error


def _read_tsv(file: BinaryIO, path: Path) -> Iterator[Located]:
    yield from _read_csv(file, path, "\t")


def _separator(header: str) -> str:
    outside = re.sub(r'"[^"]*"', "", header)
    return max((",", ";", "\t"), key=outside.count)  # the first of equals


def _read_parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise UserError(f"{path}: two columns have the same name; rename one")
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", row
    except (pyarrow.ArrowException, ValueError, KeyError, OverflowError) as error:  # the last: dates no calendar has
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); write it again, or save JSONL") from error


_READERS: dict[str, Callable[[BinaryIO, Path], Iterator[Located]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
}
