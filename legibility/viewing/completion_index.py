"""Every completion of the runs shown, as a DuckDB table in memory that follows the folders; texts stay in their files.

The table holds what is filtered and sorted by, about 200 bytes a completion. Texts are read for the rows of a page, by
row number, and are searched where they are. A file that cannot be read is named on the page and left out.
"""

from __future__ import annotations

import glob
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legibility.game.solutions import SCHEMA, Solution
from legibility.viewing.completion_filter import FACETS, GROUPED, SORTS, CompletionFilter, Where, where
from legibility.viewing.completion_key import CompletionKey
from legibility.viewing.run_files import CompletionFile, completion_files

PATIENCE = 0.7  # seconds for which the folders are not looked at again
KEPT_SEARCHES = 6
_STORED = pa.schema([f for f in SCHEMA if f.name != "text"])
_REPEATED = [f.name for f in _STORED if f.type == pa.string()]
_TYPES = {pa.string(): "varchar", pa.int32(): "integer", pa.float32(): "float", pa.bool_(): "boolean"}


@dataclass(kw_only=True)
class CompletionRow(Solution):
    """One completion of the table. `text` is empty until it is fetched by `texts`. `fooled`, `disagreement`: docs/view.md.

    copies: how many completions with this text, by the same writer of the same problem, stand behind the row.
    """

    run: str
    place: str
    live: bool
    file: int
    row: int
    fooled: float | None
    disagreement: float | None
    copies: int = 1

    @property
    def key(self) -> CompletionKey:
        """Its stable name."""
        return CompletionKey(
            self.run, self.place, self.phase, self.split, self.step, self.role, self.sample, self.problem_id
        )


_COLUMNS = [f.name for f in fields(CompletionRow) if f.name not in ("text", "copies")]
_SAME_TEXT = ["run", "arm", "round", "role", "problem_id", "verdict", "text"]
"""What completions have in common of which one is shown with their number."""


class CompletionIndex:
    """The table. `version` grows with every change; `notes` says which files cannot be read."""

    def __init__(
        self, runs: Mapping[str, Path], questions: Callable[[str], Sequence[tuple[str, str]]] = lambda text: ()
    ) -> None:
        """runs: folders by name. questions: (run, problem id) of the questions that hold a text."""
        self.runs, self._questions = dict(runs), questions
        self.version = 0
        self.notes: dict[Path, str] = {}
        self._database = duckdb.connect(":memory:")
        columns = ", ".join(f"{f.name} {_TYPES[f.type]}" for f in _STORED)
        self._database.execute(
            f"create table completions (run varchar, place varchar, live boolean, turn integer, file integer, row integer, {columns}, "
            "same_text ubigint, fooled float, disagreement float)"
        )
        self._known: dict[Path, tuple[int, CompletionFile]] = {}
        self._damaged: dict[Path, CompletionFile] = {}
        self._numbers = 0
        self._searches: OrderedDict[tuple[Any, ...], str] = OrderedDict()
        self._refreshing, self._searching = threading.Lock(), threading.Lock()
        self._looked = 0.0
        self._cube = lru_cache(maxsize=64)(self._count)
        self._different = lru_cache(maxsize=64)(self._count_different)

    # ---- following the folders ------------------------------------------------------------------

    def refresh(self, *, now: bool = False) -> int:
        """Take in what has been written since and drop what has gone, at most every `PATIENCE` seconds unless `now`.

        Returns the version. Where another thread is at it, what has been taken in so far is shown.
        """
        if not self._refreshing.acquire(blocking=now):
            return self.version
        try:
            if not now and time.monotonic() - self._looked < PATIENCE:
                return self.version
            found = {f.path: (name, f) for name, run in self.runs.items() for f in completion_files(run)}
            gone = [p for p, (_, known) in self._known.items() if p not in found or found[p][1].stamp != known.stamp]
            fresh = [
                (name, f)
                for p, (name, f) in found.items()
                if (p not in self._known or p in gone) and self._damaged.get(p) != f
            ]
            self._drop(gone)
            if gone:
                self.version += 1
            for path in [p for p in self.notes if p not in found]:
                del self.notes[path], self._damaged[path]
            self._add(fresh)
            self._looked = time.monotonic()
            return self.version
        finally:
            self._refreshing.release()

    def _drop(self, paths: Sequence[Path]) -> None:
        for path in paths:
            number, _ = self._known.pop(path)
            self._database.execute("delete from completions where file = ?", [number])

    def _add(self, files: Sequence[tuple[str, CompletionFile]]) -> None:
        for run, file in files:
            try:
                table = pq.read_table(file.path, schema=SCHEMA, read_dictionary=_REPEATED)
            except (OSError, pa.ArrowException) as error:
                if file.path.exists() and not file.live:  # a step may still be on its way to the disk
                    self.notes[file.path] = " ".join(str(error).split())[:120]
                    self._damaged[file.path] = file  # it is looked at again when it has changed
                continue
            self.notes.pop(file.path, None)
            self._damaged.pop(file.path, None)
            self._numbers += 1
            incoming = table.append_column("fooled", pa.array(_fooled(table, file), pa.float32(), from_pandas=True))
            with self._database.cursor() as cursor:
                cursor.register(
                    "incoming", incoming.append_column("number", pa.array(np.arange(len(table)), pa.int32()))
                )
                names = ", ".join(_STORED.names)
                same = ", ".join(name if name != "run" else "?" for name in _SAME_TEXT)
                cursor.execute(
                    f"insert into completions select ?, ?, ?, ?, ?, number, {names}, "
                    f"hash({same}), fooled, null from incoming",
                    [run, file.place, file.live, file.turn, self._numbers, run],
                )
            self._known[file.path] = self._numbers, file
            self.version += 1

    def set_disagreement(self, rows: pd.DataFrame) -> None:
        """Fill in the verifiers' disagreement of rows (columns file, row, disagreement)."""
        with self._refreshing, self._database.cursor() as cursor:
            cursor.register("incoming", rows)
            cursor.execute(
                "update completions set disagreement = incoming.disagreement from incoming "
                "where completions.file = incoming.file and completions.row = incoming.row"
            )
            self.version += 1

    # ---- asking ---------------------------------------------------------------------------------

    def page(self, asked: CompletionFilter, first: int, count: int) -> list[CompletionRow]:
        """`count` rows from the one numbered `first` (from 0), in the order asked for; in `GROUPED` ones a text once."""
        made, source = where(asked), self._source(asked)
        if asked.sort not in GROUPED:
            return self._rows(made, f"order by {SORTS[asked.sort]} limit ? offset ?", count, first, source=source)
        sql = f"select same_text, count(*) from {source} where {made} group by same_text order by {GROUPED[asked.sort]}"
        with self._database.cursor() as cursor:
            found = cursor.execute(f"{sql} limit ? offset ?", [*made.values, count, first]).fetchall()
        copies = dict(found)
        if not copies:
            return []
        made.add(f"same_text in ({', '.join('?' * len(copies))})", *copies)
        one = f"qualify row_number() over (partition by same_text order by {SORTS[asked.sort]}) = 1"
        rows = self._rows(made, f"{one} order by list_position(?, same_text)", list(copies), source=source)
        return [replace(row, copies=number) for row, number in zip(rows, copies.values(), strict=True)]

    def distinct(self, asked: CompletionFilter) -> int:
        """How many texts are asked for, each counted once for its writer and problem."""
        return self._different(self.version, asked.unordered)

    def counts(self, asked: CompletionFilter) -> tuple[int, dict[str, dict[Any, int]]]:
        """How many completions are asked for; and by facet, how many each of its values has under the other facets."""
        cube = self._cube(self.version, asked.without_facets)
        facets: dict[str, Counter[Any]] = {name: Counter() for name in FACETS}
        total = 0
        for *values, number in cube:
            cell = dict(zip(FACETS, values, strict=True))
            total += number if asked.admits(cell) else 0
            for name in FACETS:
                facets[name][cell[name]] += number if asked.admits(cell, besides=name) else 0
        return total, {name: dict(sorted(found.items())) for name, found in facets.items()}

    def find(self, key: CompletionKey) -> CompletionRow | None:
        """The completion of that name, or None."""
        names = ("run", "place", "phase", "split", "step", "role", "sample", "problem_id")
        made = Where([f"{name} = ?" for name in names], [getattr(key, name) for name in names])
        return next(iter(self._rows(made, "order by file, row limit 1")), None)

    def siblings(self, row: CompletionRow, limit: int) -> list[CompletionRow]:
        """The other samples of the same problem and role, drawn at the same time."""
        names = ("run", "place", "phase", "split", "step", "role", "problem_id")
        made = Where([f"{name} = ?" for name in names], [getattr(row, name) for name in names])
        made.add("not (file = ? and row = ?)", row.file, row.row)
        return self._rows(made, "order by sample, row limit ?", limit)

    def elsewhere(self, row: CompletionRow, limit: int) -> list[tuple[list[CompletionRow], int, int]]:
        """Completions of the same problem of the same run but its siblings', by arm, round, phase and role.

        Of each group: the first `limit` rows, how many there are, and how many of those are correct.
        """
        names, group = ("place", "phase", "step", "role"), "place, arm, round, phase, role"
        made = Where(["run = ?", "problem_id = ?"], [row.run, row.problem_id])
        made.add(f"not ({' and '.join(f'{n} = ?' for n in names)})", *(getattr(row, n) for n in names))
        first = f"qualify row_number() over (partition by {group} order by step, sample, file, row) <= ? order by {SORTS['oldest']}"
        groups: dict[tuple[Any, ...], list[CompletionRow]] = {}
        for found in self._rows(made, first, limit):
            groups.setdefault((found.place, found.arm, found.round, found.phase, found.role), []).append(found)
        sql = f"select {group}, count(*), count(*) filter (verdict = 'correct') from completions where {made} group by all"
        with self._database.cursor() as cursor:
            counted = {
                tuple(key): (number, right) for *key, number, right in cursor.execute(sql, made.values).fetchall()
            }
        return [(rows, *counted.get(key, (len(rows), 0))) for key, rows in groups.items()]

    def share_below(self, row: CompletionRow) -> float | None:
        """Share of the scored completions of the same arm, round and phase with a lower score (ties count half)."""
        if row.score is None:
            return None
        sql = (
            "select avg(case when score < $score then 1.0 when score = $score then 0.5 else 0.0 end) from completions "
            "where run = $run and place = $place and arm = $arm and round = $round and phase = $phase and score is not null"
        )
        values = {n: getattr(row, n) for n in ("score", "run", "place", "arm", "round", "phase")}
        with self._database.cursor() as cursor:
            return cursor.execute(sql, values).fetchall()[0][0]

    def texts(self, rows: Iterable[CompletionRow]) -> dict[tuple[int, int], str]:
        """Text by file and row; rows whose file has gone meanwhile are missing."""
        wanted: dict[int, list[int]] = {}
        for row in rows:
            wanted.setdefault(row.file, []).append(row.row)
        paths = {number: path for path, (number, _) in list(self._known.items())}
        found: dict[tuple[int, int], str] = {}
        with self._database.cursor() as cursor:
            for number, places in wanted.items():
                if number not in paths:
                    continue
                sql = (
                    "select file_row_number, text from read_parquet(?, file_row_number = true) "
                    f"where file_row_number in ({', '.join(str(int(p)) for p in places)})"
                )
                try:
                    answer = cursor.execute(sql, [glob.escape(str(paths[number]))]).fetchall()
                except duckdb.Error:  # the phase has ended: its steps are one file now
                    continue
                found.update({(number, place): text or "" for place, text in answer})
        return found

    def reported(self, run: str) -> pd.DataFrame:
        """File, row, problem_id and text of a run's validation and test completions, which are those that are evaluated."""
        rows = self._rows(Where(["run = ?", "split in ('validation', 'test')"], [run]), "")
        texts = self.texts(rows)
        chosen = [(r.file, r.row, r.problem_id, texts[r.file, r.row]) for r in rows if (r.file, r.row) in texts]
        return pd.DataFrame(chosen, columns=["file", "row", "problem_id", "text"])

    # ---- inside ---------------------------------------------------------------------------------

    def _rows(self, made: Where, rest: str, *values: Any, source: str = "completions") -> list[CompletionRow]:
        with self._database.cursor() as cursor:
            sql = f"select {', '.join(_COLUMNS)} from {source} where {made} {rest}"
            found = cursor.execute(sql, [*made.values, *values]).fetchall()
        return [CompletionRow(**dict(zip(_COLUMNS, row, strict=True)), text="") for row in found]

    def _source(self, asked: CompletionFilter) -> str:
        return f"completions semi join {self._search(asked.text)} using (file, row)" if asked.text else "completions"

    def _count(self, version: int, asked: CompletionFilter) -> list[tuple[Any, ...]]:
        names, made, source = ", ".join(FACETS), where(asked), self._source(asked)
        with self._database.cursor() as cursor:
            sql = f"select {names}, count(*) from {source} where {made} group by {names}"
            return cursor.execute(sql, made.values).fetchall()

    def _count_different(self, version: int, asked: CompletionFilter) -> int:
        made, source = where(asked), self._source(asked)
        with self._database.cursor() as cursor:
            sql = f"select count(distinct same_text) from {source} where {made}"
            return int(cursor.execute(sql, made.values).fetchall()[0][0])

    def _search(self, text: str) -> str:
        """The name of a table of the rows (file, row) whose text or question holds `text`, kept for the next pages."""
        with self._searching:
            key = (self.version, text.lower())
            if key in self._searches:
                self._searches.move_to_end(key)
                return self._searches[key]
            numbers = {str(path): number for path, (number, _) in self._known.items()}
            name = f"search_{time.monotonic_ns()}"
            with self._database.cursor() as cursor:
                cursor.execute(f"create table {name} (file integer, row integer)")
                self._search_files(cursor, name, numbers, text)
                asked = pd.DataFrame(self._questions(text), columns=["run", "problem_id"], dtype=str)
                if len(asked):
                    cursor.register("asked", asked)
                    cursor.execute(
                        f"insert into {name} select c.file, c.row from completions c join asked using (run, problem_id) "
                        f"where (c.file, c.row) not in (select (file, row) from {name})"
                    )
                while len(self._searches) >= KEPT_SEARCHES:
                    cursor.execute(f"drop table {self._searches.popitem(last=False)[1]}")
            self._searches[key] = name
            return name

    def _search_files(self, cursor: duckdb.DuckDBPyConnection, name: str, numbers: dict[str, int], text: str) -> None:
        paths = [p for p in numbers if Path(p).exists()]
        if not paths:
            return
        cursor.register("files", pd.DataFrame({"path": list(numbers), "number": list(numbers.values())}))
        cursor.execute(
            f"insert into {name} select f.number, t.file_row_number from "
            "read_parquet(?, filename = true, file_row_number = true) t join files f on t.filename = f.path "
            "where contains(lower(t.text), lower(?))",
            [[glob.escape(p) for p in paths], text],
        )


def _fooled(table: pa.Table, file: CompletionFile) -> np.ndarray:
    """How far each incorrect text fooled its verifier, (n,) float: the share of the correct texts that score lower.

    The correct texts are those of the same arm, round and phase in the same file, ties count half. nan for texts that
    are not incorrect or not scored, and in steps under way, which hold too few.
    """
    fooled = np.full(len(table), np.nan)
    if file.live or not len(table):
        return fooled
    scores = table["score"].to_numpy()
    verdict = table["verdict"].to_numpy()
    group = np.zeros(len(table), dtype=np.int64)
    for name in ("arm", "round", "phase"):
        codes = table[name].combine_chunks().dictionary_encode()
        codes = codes.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        group = group * (int(codes.max(initial=0)) + 1) + codes
    scored = np.isfinite(scores)
    right, wrong = scored & (verdict == "correct"), scored & (verdict == "incorrect")
    for one in np.unique(group[wrong]):
        honest, fooling = np.sort(scores[right & (group == one)]), np.flatnonzero(wrong & (group == one))
        if len(honest):
            below = np.searchsorted(honest, scores[fooling], "left") + np.searchsorted(honest, scores[fooling], "right")
            fooled[fooling] = below / 2 / len(honest)
    return fooled
