"""Problem files, answers, written steps and multiple-choice labels: strategies, and what must hold of each input.

A check takes an input and a folder that it may write to. It falls where anything but a `UserError` is raised, or
that is not one line naming the file. `fuzz(check, folder, examples)` runs a few, scripts/soak.py thousands of the same.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.grading import Verdict, check_steps, extract_answer, grade, parse_number, read_gold
from legibility.grading.style import style_of
from legibility.problems import Problem, ProblemSplits
from legibility.problems.corruption import corrupt
from legibility.problems.formulas import solution_of
from legibility.problems.generator import generate_problems
from legibility.problems.record_files import read_file
from legibility.problems.sources import FileSource, GSM8KSource, load_source
from legibility.problems.storage import problem_lines, read_splits, write_problems
from legibility.problems.truth import first_wrong_step, missing_steps
from legibility.reporting.marked_solution import show
from legibility.weak_to_strong.choice_labels import ChoiceRow, right_choices

SECONDS = 5.0
"""CPU time that one input may take; the largest take some hundredths."""


@dataclass(frozen=True)
class Check:
    """`read(input, folder)` raises where the input made something fall, and UserError where it is refused as it should."""

    name: str
    inputs: st.SearchStrategy[Any]
    read: Callable[[Any, Path], None]


def fuzz(check: Check, folder: Path, examples: int, *, seed: int | None = None) -> int:
    """Run a check on that many inputs and return how many were run. Raises what the smallest bad input raises.

    seed: None draws the same inputs each time.
    """
    ran = 0

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=seed is None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(check.inputs)
    def each(found: Any) -> None:
        nonlocal ran
        ran += 1
        began = time.process_time()
        with contextlib.suppress(UserError):
            check.read(found, folder)
        assert time.process_time() - began < SECONDS, f"{check.name}: an input took too long"

    if seed is not None:
        from hypothesis import seed as seeded

        each = seeded(seed)(each)
    each()
    return ran


@contextlib.contextmanager
def refused_well(path: Path | None = None):
    """A UserError is let through where it is one short line that names the file."""
    try:
        yield
    except UserError as error:
        message = str(error)
        assert "\n" not in message and 0 < len(message) < 2_000, message
        assert path is None or str(path) in message, message
        raise


# ---------------------------------------------------------------- text

NUMBERISH = st.text(alphabet="0123456789.,-+$€%/()eE−– ", max_size=30)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.fractions().map(str),
    st.integers(1, 5000).map(lambda n: "9" * n),
    NUMBERISH,
)
GOLDS = st.one_of(
    NUMBERS, st.tuples(NUMBERS, st.sampled_from([" apples", " (apples)", "%", " dozen", "km"])).map("".join)
)
PIECES = st.one_of(
    NUMBERS,
    st.sampled_from(list("=()+-*/x×^%$.,\\½٣…\u2028\r\0\n")),
    st.sampled_from(
        ["==", " = ", "\n#### ", "####", "<<", ">>", "**", "\\times ", " of ", " half ", "...", "\x1b[31m"]
    ),
    st.sampled_from([" apples", ", ", ". ", "1 + 1 = 2", "2 * 3 = 7\n"]),
    st.text(max_size=8),
)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(PIECES, max_size=60).map("".join),
    st.tuples(st.lists(PIECES, min_size=1, max_size=3).map("".join), st.integers(1, 3000)).map(lambda x: x[0] * x[1]),
).map(lambda text: text[:200_000])

# ---------------------------------------------------------------- files

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(1, 4400).map(lambda n: 10 ** (n - 1)),
    st.floats(),
    st.text(max_size=20),
    GOLDS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
)
FIELDS = ("question", "answer", "solution", "id", "data")
GOOD_ROWS = st.fixed_dictionaries(
    {"question": st.text(min_size=1, max_size=30), "answer": GOLDS, "id": st.uuids().map(str), "solution": TEXTS}
)
CLEAN_ROWS = st.fixed_dictionaries(
    {
        "question": st.text(min_size=1, max_size=30).map(lambda text: "Q" + text.strip()),
        "answer": st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.integers().map(str)),
        "id": st.uuids().map(str),
        "solution": st.tuples(TEXTS, st.sampled_from(["", "\n#### 7", "\n#### 9 apples"])).map("".join),
    }
)
ROWS = st.one_of(
    GOOD_ROWS,
    GOOD_ROWS,
    st.dictionaries(st.one_of(st.sampled_from(FIELDS), st.text(max_size=6)), VALUES, max_size=6),
    VALUES,
)
NESTED = st.tuples(st.sampled_from(["[", '{"a":', '[{"question":']), st.integers(1, 5_000)).map(lambda x: x[0] * x[1])


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except ValueError:  # an integer longer than Python writes
        return "1" * 5_000


def _table(rows: list[Any], separator: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(FIELDS[:4])
    for row in rows:
        values = [row.get(f) for f in FIELDS[:4]] if isinstance(row, dict) else [row]
        with contextlib.suppress(ValueError, csv.Error):
            writer.writerow([str(v) for v in values])
    return out.getvalue()


def _parquet(rows: list[Any]) -> bytes:
    sink = io.BytesIO()
    try:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([r for r in rows if isinstance(r, dict)]), sink)
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError, AttributeError, KeyError):
        pyarrow.parquet.write_table(pyarrow.table({"question": ["Q?"], "answer": [1.5]}), sink)
    return sink.getvalue()


def _text(rows: list[Any], kind: str) -> str:
    if kind == ".jsonl":
        return "".join(_json(row) + "\n" for row in rows)
    if kind == ".json":
        return "[" + ",\n".join(map(_json, rows)) + "]"
    return _table(rows, "\t" if kind == ".tsv" else ";" if len(rows) % 2 else ",")


def _zipped(raw: bytes, member: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, raw)
    return sink.getvalue()


def _zst(raw: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return sink.getvalue().to_pybytes()


@st.composite
def files(
    draw: st.DrawFn, kinds: tuple[str, ...] = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
) -> tuple[str, bytes]:
    """The name of a file and its bytes: rows in some format, encoding and packing, perhaps damaged or misnamed."""
    kind = draw(st.sampled_from(kinds))
    clean = draw(st.booleans())
    rows = draw(st.lists(CLEAN_ROWS, min_size=1, max_size=6) if clean else st.lists(ROWS, max_size=6))
    if kind == ".parquet":
        raw = _parquet(rows)
    else:
        text = _text(rows, kind) if clean else draw(st.one_of(st.just(_text(rows, kind)), NESTED, st.text(max_size=60)))
        encoding = draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "utf-16", "cp1252", "utf-32"]))
        raw = text.encode(encoding, "replace") if encoding != "utf-8" else text.encode("utf-8", "surrogatepass")
    packing = draw(st.sampled_from(["", "", "", ".gz", ".bz2", ".xz", ".zst", ".zip"]))
    if packing == ".zip":
        raw = _zipped(raw, draw(st.sampled_from([f"a{kind}", f"b/a{kind}", "a.txt"])))
    elif packing:
        raw = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": _zst}[packing](raw)
    if clean and draw(st.integers(0, 3)):
        return "f" + kind + packing, raw
    name = draw(st.sampled_from(["f" + kind + packing] * 4 + ["f" + kind, "f.json", "f.csv.gz", "f.txt", "f.xlsx"]))
    return name, draw(damaged(raw))


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes as they are, cut, with some put in, or with one changed."""
    how = draw(st.sampled_from(["", "", "", "cut", "put in", "change"]))
    if not raw or not how:
        return raw
    at = draw(st.integers(0, len(raw) - 1))
    if how == "cut":
        return raw[:at]
    piece = draw(
        st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b",", b'"', b"\n", b"\0", b"]", b"NaN", b"\xff"]))
    )
    return raw[:at] + piece + raw[at + (len(piece) if how == "change" else 0) :]


SOURCES = st.builds(
    FileSource,
    path=st.just("set below"),
    question=st.sampled_from(["question", ["question", "data"]]),
    answer_marker=st.sampled_from([None, None, "####"]),
    solution=st.sampled_from([None, "solution", "answer"]),
    id=st.sampled_from([None, None, "id"]),
    limit=st.sampled_from([None, None, 1]),
)


def _load(found: tuple[tuple[str, bytes], FileSource], folder: Path) -> None:
    (name, content), source = found
    path = folder / name
    path.write_bytes(content)
    problems = []
    with refused_well(path):
        problems = load_source(source.model_copy(update={"path": str(path)}))
        assert problems
    assert len({p.id for p in problems}) == len(problems)
    for problem in problems:
        assert problem.question.strip() and parse_number(problem.answer) is not None
        assert grade(f"so\n#### {problem.answer}", problem.answer) is Verdict.CORRECT
    splits = ProblemSplits(problems, [], [], [])
    write_problems(folder / "problems.jsonl", splits)
    assert read_splits(folder / "problems.jsonl") == splits


def _load_gsm8k(found: tuple[str, bytes], folder: Path) -> None:
    content = found[1].replace(
        b'"solution"', b'"answer"'
    )  # which ends in a marker line, and of two keys the last counts
    (folder / "train.jsonl").write_bytes(content)
    with refused_well(folder / "train.jsonl"):
        load_source(GSM8KSource(path=str(folder), max_steps=2))


STORED = problem_lines(ProblemSplits(generate_problems(3, 0), [], [], generate_problems(2, 1))).encode()


def _stored(content: bytes, folder: Path) -> None:
    path = folder / "problems.jsonl"
    path.write_bytes(content)
    with refused_well(path):
        read_splits(path)


def _records(found: tuple[str, bytes], folder: Path) -> None:
    path = folder / found[0]
    path.write_bytes(found[1])
    with refused_well(path):
        for where, row in read_file(path):
            assert str(path) in where and isinstance(row, dict)


# ---------------------------------------------------------------- graders


def _answer(found: tuple[str, str, str], folder: Path) -> None:
    text, gold, marker = found
    for solution in (text, f"{text}\n{marker} {gold}", f"{marker} {text}"):
        value = extract_answer(solution, marker)
        with contextlib.suppress(UserError), refused_well():
            verdict = grade(solution, gold, marker)
            assert (verdict is Verdict.INVALID) == (value is None)
    number = read_gold(gold)
    if number is not None:
        assert grade(f"{marker} {number}", number, marker) is Verdict.CORRECT
    assert (parse_number(gold) is None) or read_gold(gold) == gold.strip()


PROBLEMS = generate_problems(5, 3)


def _steps(found: tuple[str, int], folder: Path) -> None:
    text, which = found
    steps = check_steps(text)
    assert all(text[s.start : s.end] == s.text for s in steps)
    assert [s.start for s in steps] == sorted(s.start for s in steps)
    style_of(text)
    problem = PROBLEMS[which]
    first_wrong_step(problem, text)
    missing_steps(problem, text)
    shown = show(problem, text, "correct")
    assert "\n".join("".join(p.text for p in line.pieces) for line in shown.lines) == text
    solution_of(text, text[:20])
    if len(text) < 2_000 and len(steps) < 10:
        corrupt(Problem("p", text, "1", text), np.random.default_rng(0))


LABELS = st.one_of(
    st.integers(-1, 5),
    st.sampled_from("ABCD0123"),
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(max_size=5),
    GOLDS,
)


def _choices(found: tuple[list[tuple[Any, list[str]]], str | None], folder: Path) -> None:
    rows, label_is = found
    asked = [ChoiceRow(f"f.jsonl line {i}", label, options, []) for i, (label, options) in enumerate(rows, start=1)]
    with refused_well():
        right = right_choices(asked, "label", label_is)  # type: ignore[arg-type]
        assert all(0 <= choice < len(row.options) for choice, row in zip(right, asked, strict=True))


CHOICES = st.lists(st.one_of(st.sampled_from("01234AB"), st.text(max_size=4)), min_size=2, max_size=5)
CHOICE_ROWS = st.one_of(
    st.lists(st.tuples(LABELS, CHOICES), max_size=6),
    st.lists(st.tuples(st.integers(0, 3), st.just(["red", "blue", "1", "2"])), max_size=6),
    st.lists(st.tuples(st.integers(1, 4).map(str), st.just(["red", "blue", "7", "2"])), max_size=6),
)

CHECKS = (
    Check("problem files", st.tuples(files(), SOURCES), _load),
    Check("GSM8K folders", files((".jsonl",)), _load_gsm8k),
    Check("record files", files(), _records),
    Check("stored problems", damaged(STORED), _stored),
    Check("answers", st.tuples(TEXTS, GOLDS, st.sampled_from(["####", "Answer:"])), _answer),
    Check("written steps", st.tuples(TEXTS, st.integers(0, 4)), _steps),
    Check(
        "multiple choice",
        st.tuples(CHOICE_ROWS, st.sampled_from([None, "text", "column", "letter", "index", "number"])),
        _choices,
    ),
)
