"""Runs that an earlier version began go on with the problems they began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.problems import ProblemSettings, ProblemSplits, load_problems
from legibility.problems.sources import GeneratedSource, ProblemSource
from legibility.problems.storage import problem_lines


def as_begun(
    stored: Path, settings: ProblemSettings, splits: ProblemSplits, *, base_dir: str | Path | None = None
) -> ProblemSplits:
    """`splits`, or what an earlier version drew from the same settings: whichever the run has in `stored`.

    Raises UserError where it has neither.
    """
    read = {
        "train": _with_read_questions(settings.train),
        "test": None if settings.test is None else _with_read_questions(settings.test),
    }
    earlier: list[dict[str, Any]] = [
        read,  # questions that a built-in model has read were not left out
        {"judge": 0, **read},  # and before that there was no part for the judge
        {"judge": 0},
    ]
    content = stored.read_bytes()
    if content == problem_lines(splits).encode():
        return splits
    for update in earlier:
        drawn = load_problems(settings.model_copy(update=update), base_dir=base_dir)
        if content == problem_lines(drawn).encode():
            return drawn
    raise UserError(f"{stored}: the problems changed since the run began; restore their source or choose another --out")


def _with_read_questions(source: ProblemSource) -> ProblemSource:
    return source.model_copy(update={"leave_out_read": False}) if isinstance(source, GeneratedSource) else source
