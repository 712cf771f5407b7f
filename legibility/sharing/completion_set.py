"""Every stored completion of a run as a `datasets` folder: parquet by part of the problems, and the problems themselves.

`datasets.load_dataset(FOLDER)` reads the completions, `load_dataset(FOLDER, "problems")` the problems; the splits are
the run's parts (prover, verifier, validation, test, judge).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legibility.evaluation.dataframes import stored_completions
from legibility.files import sha256
from legibility.game.condition import Condition, conditions_of
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import SCHEMA
from legibility.problems.splits import PARTS
from legibility.problems.storage import problem_record, read_splits

COMPLETIONS, PROBLEMS = "completions", "problems"
_WITH_PROBLEM = pa.schema([*SCHEMA, ("question", pa.string()), ("answer", pa.string())])
_PROBLEM = pa.schema(
    [(name, pa.string()) for name in ("id", "question", "answer", "solution", "source", "family")]
    + [("steps", pa.list_(pa.string()))]
)


@dataclass(frozen=True)
class WrittenText:
    """What a condition wrote in one phase and part: how much, and the share of it that is correct."""

    condition: Condition
    phase: str
    split: str
    count: int
    correct: float


@dataclass(frozen=True)
class CompletionSet:
    """What was written: rows by split of both tables, and the completions by who wrote them and for what.

    content: a digest of the files of each table, the same whenever the run is exported.
    """

    completions: Mapping[str, int]
    problems: Mapping[str, int]
    texts: list[WrittenText]
    content: Mapping[str, str]

    @property
    def total(self) -> int:
        """Completions in all."""
        return sum(self.completions.values())


def write_completion_set(run: RunFolder, folder: Path) -> CompletionSet:
    """Write both tables. Raises UserError for files of the run that were changed."""
    frame, splits = stored_completions(run), read_splits(run.problems_file)
    known = {p.id: p for part in PARTS for p in splits.part(part)}
    frame["question"] = [known[p].question for p in frame.problem_id]
    frame["answer"] = [known[p].answer for p in frame.problem_id]
    completions: dict[str, int] = {}
    problems: dict[str, int] = {}
    for part in PARTS:
        rows = frame[frame.split == part]
        if len(rows):
            table = pa.Table.from_pandas(rows, schema=_WITH_PROBLEM, preserve_index=False)
            completions[part] = _write(table, folder / COMPLETIONS / f"{part}.parquet")
        records = [problem_record(p) for p in splits.part(part)]
        if records:
            problems[part] = _write(
                pa.Table.from_pylist(records, schema=_PROBLEM), folder / PROBLEMS / f"{part}.parquet"
            )
    content = {COMPLETIONS: _content(folder / COMPLETIONS), PROBLEMS: _content(folder / PROBLEMS)}
    return CompletionSet(completions, problems, _texts(frame), content)


def _content(folder: Path) -> str:
    """A digest of names and bytes."""
    found = "".join(f"{file.name}\0{sha256(file)}\n" for file in sorted(folder.glob("*.parquet")))
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def _texts(frame: pd.DataFrame) -> list[WrittenText]:
    found = []
    for condition in conditions_of(frame):
        own = frame[(frame.arm == condition.arm) & (frame["round"] == condition.round) & (frame.role == condition.role)]
        for (phase, split), rows in own.groupby(["phase", "split"], sort=True):
            share = float((rows.verdict == "correct").mean())
            found.append(WrittenText(condition, str(phase), str(split), len(rows), share))
    return found


def _write(table: pa.Table, file: Path) -> int:
    file.parent.mkdir(exist_ok=True)
    pq.write_table(table.replace_schema_metadata(None), file, compression="zstd")
    return int(table.num_rows)
