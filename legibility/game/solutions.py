"""The completion store: one row per sampled completion, as parquet."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from legibility.errors import UserError
from legibility.files import sha256, write_atomic
from legibility.game.phases import GAME, round_collection, round_folder, round_prover
from legibility.game.run_folder import RunFolder

SolutionPhase = Literal["base", "ppo", "collection", "halfway", "attack", "pool", "rejection", "ask", "assistant"]
"""What a completion was drawn for."""


@dataclass
class Solution:
    """One completion. `role` is base, helpful or sneaky; `split` the part of its problem; `phase` what it was drawn for.

    `score` is the raw score of the round's verifier (null where none was asked); `reward` what PPO was
    paid; `logprob_gap` the largest difference between the sampler's and the trainer's log-probs of the
    PPO step (null outside PPO). `source` is the text it was made from, where an arm rewrites or goes on with one;
    `junior_share` the share of its tokens that a weak model wrote, where one took turns (tandem).
    """

    arm: str
    round: int
    phase: str
    split: str
    step: int
    problem_id: str
    sample: int
    role: str
    text: str
    verdict: str
    prompt_tokens: int
    completion_tokens: int
    truncated: bool
    score: float | None = None
    reward: float | None = None
    logprob_gap: float | None = None
    source: str | None = None
    junior_share: float | None = None


SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("round", pa.int32()),
        ("phase", pa.string()),
        ("split", pa.string()),
        ("step", pa.int32()),
        ("problem_id", pa.string()),
        ("sample", pa.int32()),
        ("role", pa.string()),
        ("text", pa.string()),
        ("verdict", pa.string()),
        ("score", pa.float32()),
        ("reward", pa.float32()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("logprob_gap", pa.float32()),
        ("source", pa.string()),
        ("junior_share", pa.float32()),
    ]
)


def write_solutions(path: Path, rows: Iterable[Solution]) -> None:
    """Write rows in the order given."""
    pq.write_table(pa.Table.from_pylist([asdict(r) for r in rows], schema=SCHEMA), path)


def read_solutions(path: Path) -> pd.DataFrame:
    """All rows. Raises UserError where the file is missing or damaged."""
    try:
        return pq.read_table(path, schema=SCHEMA).to_pandas()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: cannot be read ({reason}); restore it from a copy") from None


def read_rows(path: Path) -> list[Solution]:
    """All rows as `write_solutions` was given them, but for what float32 drops. Raises OSError, ArrowException."""
    return [Solution(**row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]


def merge_round(run: RunFolder, index: int, arm: str = GAME) -> None:
    """Join the round's parts into the round's solutions.parquet and drop the parts. Safe to repeat."""
    folder = run.folder(round_folder(index, arm))
    target = folder / "solutions.parquet"
    parts = [run.folder(phase) / "solutions.parquet" for phase in _parts(index, arm)]
    if not target.exists():
        _check_parts(target, parts)
        sink = io.BytesIO()
        pq.write_table(pa.concat_tables([pq.read_table(p, schema=SCHEMA) for p in parts]), sink)
        merged = sink.getvalue()
        write_atomic(folder / "solutions.sha256", hashlib.sha256(merged).hexdigest() + "\n")
        write_atomic(target, merged)
    for part in parts:
        part.unlink(missing_ok=True)


def _parts(index: int, arm: str) -> tuple[str, str]:
    return round_prover(index, arm), round_collection(index, arm)


def _check_parts(whole: Path, parts: Iterable[Path]) -> None:
    """Raises UserError where neither a round's file is there nor all of what it is joined from: somebody took it away."""
    if not all(part.is_file() for part in parts):
        raise UserError(f"{whole}: missing; {_again(whole)}")


def _again(whole: Path) -> str:
    """What helps where a round's text is not what was written: a round that is played again comes out the same."""
    return f"restore it from a copy, or delete {whole.parent} and resume to play the round again"


def check_round(run: RunFolder, index: int, arm: str = GAME) -> None:
    """Raises UserError where a round is finished and its text is gone: before anything is made again, not after it."""
    collected = round_collection(index, arm)
    if run.is_done(collected) and not (run.folder(collected) / "solutions.parquet").is_file():
        whole = run.folder(round_folder(index, arm)) / "solutions.parquet"
        if not whole.is_file():
            raise UserError(f"{whole}: missing; {_again(whole)}")


def round_solutions(run: RunFolder, index: int, arm: str = GAME) -> pd.DataFrame:
    """Every completion of a finished round. Writes nothing: a round not merged yet is read from its parts.

    Raises UserError for a file that is missing or changed.
    """
    file = run.folder(round_folder(index, arm)) / "solutions.parquet"
    if not file.exists():
        parts = [run.verified(phase) / "solutions.parquet" for phase in _parts(index, arm)]
        _check_parts(file, parts)
        return pd.concat([read_solutions(part) for part in parts], ignore_index=True)
    recorded = file.with_name("solutions.sha256")
    if not recorded.is_file() and run.manifest().sha256 is not None:  # the oldest runs have no hashes
        raise UserError(f"{recorded}: missing; {_again(file)}")
    if recorded.is_file() and recorded.read_text(encoding="utf-8").strip() != sha256(file):
        raise UserError(f"{file}: changed since the run wrote it; {_again(file)}")
    return read_solutions(file)
