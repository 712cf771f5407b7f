"""`legibility import`: a tool's export into the study's judgments.csv, idempotent, every refused row named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.judging.readers import READERS, Refusal
from legibility.judging.study_folder import StudyFolder, json_lines
from legibility.judging.study_schema import RefusedRow
from legibility.judging.table import TABLE, Judgment, read_table, to_frame, write_table

REFUSED = "refused.jsonl"


@dataclass(frozen=True)
class Imported:
    """`added` new judgments, `known` that the table had already, `refused` rows; `total` rows in `table` now."""

    added: int
    known: int
    refused: list[Refusal]
    total: int
    table: Path


def import_judgments(study: StudyFolder, file: Path, source: str, *, rater: str | None = None) -> Imported:
    """Add a file's judgments to the table (`legibility import`). The same file again changes nothing.

    A second judgment of an item by the same rater is refused unless it is the same one: the first
    stands. Refused rows are also listed in refused.jsonl. source: a format of `READERS`; rater: who judged,
    where the file does not say. Raises UserError for an unknown source or a file that is not of its format;
    then nothing changes.
    """
    if source not in READERS:
        raise UserError(f"--from {source}: unknown; choose one of {', '.join(READERS)}")
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    table = study.path / TABLE
    before = read_table(table)
    verdicts = dict(zip(zip(before.rater, before.item_id, strict=True), before.verdict, strict=True))
    fresh: list[Judgment] = []
    refused: list[Refusal] = []
    known = 0
    for where, row in READERS[source](study, file, rater):
        if isinstance(row, Refusal):
            refused.append(row)
        elif isinstance(row, Judgment):
            pair = (row.rater, row.item_id)
            if row.item_id not in study.items:
                refused.append(Refusal(where, f"item_id {row.item_id!r} is not in this study"))
            elif (
                row.first_wrong_step is not None
                and row.first_wrong_step > study.items[row.item_id].solution.count("\n") + 1
            ):
                refused.append(Refusal(where, f"first_wrong_step {row.first_wrong_step}: the solution has fewer lines"))
            elif pair not in verdicts:
                verdicts[pair] = row.verdict
                fresh.append(row)
            elif bool(verdicts[pair]) == row.verdict:
                known += 1
            else:
                refused.append(
                    Refusal(
                        where,
                        f"duplicate: {row.rater} already said {bool(verdicts[pair])} of item {row.item_id}; the first stands",
                    )
                )
    if fresh:
        added = to_frame(fresh)
        write_table(table, pd.concat([before, added], ignore_index=True) if len(before) else added)
    _note_refused(study.path / REFUSED, file, source, refused)
    return Imported(len(fresh), known, refused, len(before) + len(fresh), table)


def _note_refused(path: Path, file: Path, source: str, refused: list[Refusal]) -> None:
    """Keep the refusals of every file imported so far; those of this file are replaced."""
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    others = [r for r in map(RefusedRow.model_validate_json, filter(None, lines)) if r.file != file.name]
    mine = [RefusedRow(file=file.name, source=source, where=r.where, reason=r.reason) for r in refused]
    if others or mine or path.is_file():
        write_atomic(path, json_lines(others + mine))
