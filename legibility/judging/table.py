"""The one long table of judgments: a row per judgment, whatever tool it was made with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.judging.spreadsheet import inert_csv

TABLE = "judgments.csv"
SIMULATION = "simulation"


@dataclass(frozen=True)
class Judgment:
    """One rater's judgment of one item; `assisted`: made with a verifier's doubts in sight.

    `rater` is "<tool>:<who>". `verdict` is True when the rater says that the solution is right; `seconds` is the
    time to the verdict (None: the tool does not say). `confidence` goes from 1 to 5, `first_wrong_step` is a line of
    the solution, from 1. `participant` is an outside id such as Prolific's. Times are ISO 8601.
    """

    item_id: str
    rater: str
    verdict: bool
    seconds: float | None = None
    timed_out: bool = False
    confidence: int | None = None
    first_wrong_step: int | None = None
    tool: str = ""
    participant: str = ""
    started_at: str = ""
    finished_at: str = ""
    assisted: bool = False


COLUMNS = [f.name for f in fields(Judgment)]
_TYPES = {
    "item_id": str,
    "rater": str,
    "verdict": "boolean",
    "seconds": float,
    "timed_out": "boolean",
    "confidence": "Int64",
    "first_wrong_step": "Int64",
    "tool": str,
    "participant": str,
    "started_at": str,
    "finished_at": str,
    "assisted": "boolean",
}


def to_frame(judgments: list[Judgment]) -> pd.DataFrame:
    """Rows as a data frame with the table's columns and types."""
    return pd.DataFrame([vars(j) for j in judgments], columns=COLUMNS).astype(_TYPES)


def read_table(path: Path) -> pd.DataFrame:
    """The table, empty where there is none. Raises UserError where it was damaged or edited into something else."""
    if not path.is_file():
        return to_frame([])
    try:
        frame = pd.read_csv(
            path,
            dtype=_TYPES,
            keep_default_na=False,
            na_values={c: [""] for c in ("seconds", "confidence", "first_wrong_step")},
        )
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UserError(
            f"{path}: not a table of judgments ({' '.join(str(error).split())[:100]}); restore it, or move it away and import again"
        ) from None
    if list(frame.columns) == COLUMNS[:-1]:  # an earlier version's
        frame = frame.assign(assisted=False).astype({"assisted": "boolean"})
    if list(frame.columns) != COLUMNS:
        raise UserError(f"{path}: columns must be {', '.join(COLUMNS)}; restore it, or move it away and import again")
    return frame


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write the whole table, all or nothing. Cells that a spreadsheet would run get an apostrophe in front."""
    write_atomic(path, inert_csv(frame))
