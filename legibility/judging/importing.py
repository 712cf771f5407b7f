"""`legibility import`: a tool's export into the study's judgments.csv, idempotent, every refused row named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.judging.readers import READERS
from legibility.judging.same_rater import check_twins, known_names
from legibility.judging.study_folder import StudyFolder, json_lines, read_lines
from legibility.judging.study_schema import RefusedRow
from legibility.judging.table import TABLE, Judgment, read_table, to_frame, write_table
from legibility.judging.tool_rows import Refusal, Remark
from legibility.printable import printable

REFUSED = "refused.jsonl"


@dataclass(frozen=True)
class Imported:
    """`added` new judgments, `known` that the table had already, `refused` rows; `total` rows in `table` now.

    `remarks`: what to know about rows that were taken, such as an optional value that was left out.
    """

    added: int
    known: int
    refused: list[Refusal]
    remarks: list[Remark]
    total: int
    table: Path


def import_judgments(study: StudyFolder, file: Path, source: str, *, rater: str | None = None) -> Imported:
    """Add a file's judgments to the table (`legibility import`). The same file again changes nothing.

    A second judgment of an item by the same rater is refused unless it is the same one: the first
    stands. One person under two names is one rater (`same_rater`). Refused rows are also listed in refused.jsonl.
    source: a format of `READERS`; rater: who judged, where the file does not say. Raises UserError for an unknown
    source, a file that is not of its format, or a table that cannot be written; then nothing changes.
    """
    if source not in READERS:
        raise UserError(f"--from {source}: unknown; choose one of {', '.join(READERS)}")
    if study.doubts and source not in ("server", "html"):
        raise UserError(
            f"--from {source}: an assisted study is judged on its own page, since no tool shows the shading"
        )
    if not file.is_file():
        raise UserError(f"{file}: no such file; give the file that the tool exported")
    table = study.path / TABLE
    before = read_table(table)
    located = list(READERS[source](study, file, rater))
    rows = [row for _, row in located if isinstance(row, Judgment)]
    names = known_names(before, rows)
    remarks = [
        Remark("the file", f"{new} is {old}: the same judgments at the same moments") for new, old in names.items()
    ]
    if rater is None:
        renamed = [replace(row, rater=names.get(row.rater, row.rater)) for row in rows]
        remarks += [Remark("the file", text) for text in check_twins(file, before, renamed)]
    verdicts = dict(zip(zip(before.rater, before.item_id, strict=True), before.verdict, strict=True))
    fresh: list[Judgment] = []
    refused: list[Refusal] = []
    known = 0
    for where, row in located:
        if isinstance(row, Refusal):
            refused.append(row)
        elif isinstance(row, Remark):
            remarks.append(row)
        elif isinstance(row, Judgment):
            judgment = replace(row, rater=names.get(row.rater, row.rater))
            pair = (judgment.rater, judgment.item_id)
            if pair not in verdicts:
                verdicts[pair] = judgment.verdict
                fresh.append(judgment)
            elif bool(verdicts[pair]) == judgment.verdict:
                known += 1
            else:
                said = f"{judgment.rater} already said {bool(verdicts[pair])} of item {judgment.item_id}"
                refused.append(Refusal(where, f"duplicate: {said}; the first stands"))
    _write(study.path, file, source, before, fresh, refused)
    return Imported(len(fresh), known, refused, remarks, len(before) + len(fresh), table)


def _write(
    study: Path, file: Path, source: str, before: pd.DataFrame, fresh: list[Judgment], refused: list[Refusal]
) -> None:
    """The list of refused rows, then the table. Raises UserError where the disk does not take them."""
    try:
        _note_refused(study / REFUSED, file, source, refused)
        if fresh:
            added = to_frame(fresh)
            write_table(study / TABLE, pd.concat([before, added], ignore_index=True) if len(before) else added)
    except OSError as error:
        raise UserError(
            f"{study / TABLE}: cannot be written ({error.strerror or error}); free space or make {study} writable, and import again"
        ) from None


def _note_refused(path: Path, file: Path, source: str, refused: list[Refusal]) -> None:
    """Keep the refusals of every file imported so far; those of this file are replaced."""
    name = printable(file.name)
    kept = read_lines(path, RefusedRow, fix="move it away and import again") if path.is_file() else []
    others = [r for r in kept if r.file != name]
    mine = [RefusedRow(file=name, source=source, where=r.where, reason=r.reason) for r in refused]
    if others or mine or path.is_file():
        write_atomic(path, json_lines(others + mine))
