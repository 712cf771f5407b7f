"""Scores of stored text, each computed once: a file per verifier, keyed by problem and text.

The file names the hashes of the verifier's weights; scores of other weights are never read.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legibility.config import Config
from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.game.condition import Judge
from legibility.game.run_folder import RunFolder
from legibility.models.verifier import Verifier
from legibility.models.verifier_ensemble import load_verifier
from legibility.problems.records import Problem
from legibility.team import Team

FOLDER = "evaluation/scores"
CHUNK = 1024  # texts between two words on how far it is
SCHEMA = pa.schema([("key", pa.string()), ("score", pa.float32())])


class Scorer:
    """`scorer(frame)` → raw scores (n,) float32 of a frame's texts by one judge of a run."""

    def __init__(
        self,
        run: RunFolder,
        judge: Judge,
        config: Config,
        device: str,
        problems: Mapping[str, Problem],
        team: Team | None = None,
    ) -> None:
        """Raises UserError where the judge's phase is not finished or its files were changed."""
        phase = judge.phase
        self.place, self.team = run.verified(phase), team or Team()
        self.config, self.device, self.problems = config, device, problems
        self.file = scores_file(run, judge)
        self.settings = judge.settings(config)
        self.identity = _identity(run, judge, config)
        self.known = _read(self.file, self.identity)
        self._verifier: Verifier | None = None

    def __call__(self, frame: pd.DataFrame, done: Callable[[int], None] | None = None) -> np.ndarray:
        """Scores (n,) float32 of the rows of a frame (columns problem_id, text); only new texts are scored.

        done: is told now and then how many of the new texts are scored. They are then read `CHUNK` at a time, all
        texts of a problem together: the verifier reads what they begin with once.
        """
        rows = self.missing(frame)
        if len(rows):
            step = CHUNK if done else len(rows)
            if done:
                rows = rows.sort_values("problem_id", kind="stable")
            found = []
            with self.team.together(self.verifier()):
                for begin in range(0, len(rows), step):
                    part = rows.iloc[begin : begin + step]
                    problems = [self.problems[p] for p in part.problem_id]
                    found.append(self.verifier().score(problems, list(part.text), self.team))
                    if done:
                        done(begin + len(part))
            self.learn(rows, np.concatenate(found))
        return np.array([self.known[key] for key in _keys(frame)], dtype=np.float32)

    def seconds_a_text(self, frame: pd.DataFrame) -> float:
        """How long it takes to score one of a frame's texts, tried. The scores are not kept.

        Kept ones would change in what company the others are read, and so their last digits, where an evaluation that
        was stopped here goes on.
        """
        verifier, problems = self.verifier(), [self.problems[p] for p in frame.problem_id]
        started = time.monotonic()
        verifier.score(problems, list(frame.text))
        return (time.monotonic() - started) / len(frame)

    def missing(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows whose text has no score yet, each text once."""
        places = {k: i for i, k in enumerate(_keys(frame)) if k not in self.known}
        return frame.iloc[sorted(places.values())]

    def learn(self, frame: pd.DataFrame, scores: np.ndarray) -> None:
        """Remember scores this very verifier gave."""
        before = len(self.known)
        for p, t, s in zip(frame.problem_id, frame.text, scores, strict=True):
            self.known.setdefault(text_key(p, t), float(s))
        if len(self.known) > before:
            self._write()

    def verifier(self) -> Verifier:
        """The verifier itself, loaded when first needed."""
        if self._verifier is None:
            compute = self.config.compute
            self._verifier = load_verifier(
                self.settings, self.device, source=str(self.place), batch=compute.score_batch
            ).frozen()
        return self._verifier

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        keys = sorted(self.known)
        table = pa.table(
            {"key": keys, "score": np.array([self.known[k] for k in keys], dtype=np.float32)}, schema=SCHEMA
        )
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"verifier": self.identity}), sink)
        write_atomic(self.file, sink.getvalue())


def scores_file(run: RunFolder, judge: Judge) -> Path:
    """Where a judge's scores are kept."""
    return run.path / FOLDER / f"{judge.phase.replace('/', '_')}.parquet"


def stored_scores(run: RunFolder, judge: Judge, config: Config) -> dict[str, float]:
    """The scores kept of a judge, by `text_key`; none where they are of other weights.

    The weights need not be there any more. Raises UserError where the judge's phase is not finished, or for a file that
    cannot be read.
    """
    return _read(scores_file(run, judge), _identity(run, judge, config))


def _identity(run: RunFolder, judge: Judge, config: Config) -> str:
    settings, done = judge.settings(config), run.done_record(judge.phase)
    files = {k: v for k, v in done.sha256.items() if k.endswith((".safetensors", "tokenizer.json"))}
    facts = [files, settings.template, settings.max_length, settings.dtype]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _read(file: Path, identity: str) -> dict[str, float]:
    if not file.is_file():
        return {}
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{file}: cannot be read ({' '.join(str(error).split())[:80]}); delete it, it will be made anew"
        ) from None
    if (table.schema.metadata or {}).get(b"verifier") != identity.encode():
        return {}
    return dict(zip(table["key"].to_pylist(), table["score"].to_pylist(), strict=True))


def _keys(frame: pd.DataFrame) -> list[str]:
    return [text_key(p, t) for p, t in zip(frame.problem_id, frame.text, strict=True)]


def text_key(problem_id: str, text: str) -> str:
    """What a text of a problem is kept under."""
    return hashlib.blake2b(f"{problem_id}\0{text}".encode(), digest_size=16).hexdigest()
