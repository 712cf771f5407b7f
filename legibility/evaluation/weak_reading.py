"""What the sections share that hand text to the weak model: the model of a run, and the tables that are kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from legibility.errors import UserError
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import section_file
from legibility.evaluation.weak_writer import WeakWriter
from legibility.game.pinned import pinned


def weak_writer(run: EvaluationRun, section: str) -> WeakWriter | None:
    """The base of a run's verifiers as a language model; None, and a note, where it is none.

    section: what is not measured then.
    """
    try:
        settings = pinned(run.config, run.folder.manifest().models)
        return WeakWriter.load(settings, run.game.device, run.game.base_dir)
    except UserError as error:
        run.progress.note(f"{section}: not measured, since the verifier's base cannot write: {error}")
        return None


def cannot_write(run: EvaluationRun) -> bool:
    """Whether an earlier evaluation found that the verifier's base writes no text."""
    file = section_file(run.folder, "handoff")
    return file.is_file() and file.read_text(encoding="utf-8").strip() == "[]"


def read_table(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table that was kept. Raises UserError for one that cannot be read."""
    try:
        return pd.read_parquet(file, columns=list(columns))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{file}: cannot be read ({reason}); delete {file.parent} and evaluate again") from None
