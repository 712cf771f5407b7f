"""The runs of a page: their names, what is under way in them, their problems and judges, and the table over all."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from legibility.config import Config
from legibility.errors import UserError
from legibility.game.phases import METRICS_LOG
from legibility.game.run_folder import PROBLEMS, RunFolder
from legibility.game.run_records import MANIFEST
from legibility.problems.records import Problem
from legibility.problems.storage import read_problems
from legibility.viewing.completion_index import CompletionIndex, CompletionRow
from legibility.viewing.completion_key import CompletionKey
from legibility.viewing.run_files import file_stamp, under_way
from legibility.viewing.verifier_readings import VerifierReadings


@dataclass(frozen=True)
class Playing:
    """A phase under way: its steps so far (0: none yet, or it counts none), the most it may take, seconds of silence."""

    phase: str
    steps: int
    most: int | None
    seconds: float


@dataclass(frozen=True)
class ShownRun:
    """A run as the head of the page has it. `quick`: it was made to be looked at, its numbers measure nothing."""

    name: str
    quick: bool
    finished: bool
    playing: Playing | None


@dataclass(frozen=True)
class _ReadProblems:
    """A run's problems by id as they were read from a file of that `stamp`, and why not, where they cannot be."""

    stamp: tuple[int, int]
    by_id: Mapping[str, Problem]
    trouble: str | None


class Shelf:
    """Runs by name. A name is the folder's, with a number behind it where two folders share it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises UserError where a folder is not that of a run, or is given twice."""
        self._runs: dict[str, RunFolder] = {}
        for path in paths:
            run = RunFolder.existing(path)
            if any(run.path.resolve() == other.path.resolve() for other in self._runs.values()):
                raise UserError(f"{path}: given twice; give each run once")
            run.config(Config)  # not an experiment's folder, and of settings that can be read
            name = run.path.resolve().name
            number = 2
            while name in self._runs:
                name, number = f"{run.path.resolve().name} ({number})", number + 1
            self._runs[name] = run
        self.index = CompletionIndex({name: run.path for name, run in self._runs.items()}, self._matching_problems)
        self.reading = True
        self._readings = {name: VerifierReadings(run) for name, run in self._runs.items()}
        self._problems: dict[str, _ReadProblems] = {}
        self._compared: object = None
        self._comparing = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The runs' names."""
        return list(self._runs)

    def read_all(self) -> None:
        """Take in everything that is stored by now."""
        try:
            self.index.refresh(now=True)
        finally:
            self.reading = False

    def run(self, name: str) -> RunFolder:
        """Raises UserError for a run that is not shown."""
        if name not in self._runs:
            raise UserError(f"no run is called {name!r:.100}")
        return self._runs[name]

    def readings(self, name: str) -> VerifierReadings:
        """The judges of a run. Raises UserError for one that is not shown."""
        self.run(name)
        return self._readings[name]

    def opened(self, key: CompletionKey) -> tuple[CompletionRow, str]:
        """The completion of that name with its text. Raises UserError where there is none."""
        for now in (False, True):  # its file may have gone since the last look: the phase has ended
            self.index.refresh(now=now)
            row = self.index.find(key)
            text = None if row is None else self.index.texts([row]).get((row.file, row.row))
            if row is not None and text is not None:
                return row, text
        raise UserError(f"{key}: no such completion in the runs shown")

    def problem(self, row: CompletionRow) -> Problem:
        """The problem a completion is of. Raises UserError where the run does not have it, or its problems are damaged."""
        read = self._read_problems(row.run)
        if row.problem_id not in read.by_id:
            raise UserError(read.trouble or f"{row.problem_id}: the run's problems.jsonl does not have this problem")
        return read.by_id[row.problem_id]

    @property
    def notes(self) -> list[str]:
        """What cannot be read, file by file."""
        files = [f"{path}: cannot be read ({why})" for path, why in self.index.notes.items()]
        return files + [read.trouble for name in self._runs if (read := self._read_problems(name)).trouble]

    def _read_problems(self, name: str) -> _ReadProblems:
        """A run's problems, read again when the file has changed; none where it has not written them yet."""
        run = self.run(name)
        stamp, known = file_stamp(run.path / PROBLEMS), self._problems.get(name)
        begun = (run.path / MANIFEST).is_file()  # written after the problems
        if known is None or known.stamp != stamp or (begun and not stamp[0] and known.trouble is None):
            problems: Mapping[str, Problem] = {}
            trouble = None
            try:
                problems = read_problems(run.problems_file) if stamp[0] or begun else {}
            except UserError as error:
                trouble = " ".join(str(error).split())
            known = self._problems[name] = _ReadProblems(stamp, problems, trouble)
        return known

    def shown(self) -> list[ShownRun]:
        """The runs as the head of the page has them."""
        return [self._shown(name, run) for name, run in self._runs.items()]

    def fill_disagreement(self) -> None:
        """Work out the verifiers' disagreement about what they have all scored, where it is not known yet."""
        with self._comparing:
            evaluated = tuple(readings.evaluated for readings in self._readings.values())
            if (evaluated, self.index.version) == self._compared:
                return
            for (name, readings), judges in zip(self._readings.items(), evaluated, strict=True):
                if len(judges) > 1:
                    frame = self.index.reported(name)
                    frame["disagreement"] = readings.disagreement(frame)
                    self.index.set_disagreement(frame[["file", "row", "disagreement"]])
            self._compared = (evaluated, self.index.version)

    def _shown(self, name: str, run: RunFolder) -> ShownRun:
        found = under_way(run.path)
        playing = None
        if found:
            first = found[0]
            try:
                lines = (first.folder / METRICS_LOG).read_bytes().splitlines()
            except OSError:
                lines = []
            steps = _last_step(lines)
            most = self._readings[name].config.ppo.steps if first.phase.endswith("prover") else None
            playing = Playing(first.phase, steps, most, first.seconds)
        return ShownRun(name, _is_quick(run), (run.path / "summary.json").is_file(), playing)

    def _matching_problems(self, text: str) -> list[tuple[str, str]]:
        lowered = text.lower()
        return [
            (name, problem.id)
            for name in self._runs
            for problem in self._read_problems(name).by_id.values()
            if lowered in problem.question.lower() or lowered == problem.id.lower()
        ]


def _is_quick(run: RunFolder) -> bool:
    try:
        return run.is_quick
    except UserError:  # a damaged manifest, which the notes name
        return False


def _last_step(lines: Sequence[bytes]) -> int:
    """The step of the last whole line of a metrics log."""
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0
