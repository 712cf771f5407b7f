"""A run's problems as one JSON Lines file: what every split held, so that a run can be read without its sources."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.problems.records import Problem, Step
from legibility.problems.splits import PARTS, Part, ProblemSplits

_STEP = re.compile(r"(-?\d+) ([-+*/]) (-?\d+) = (-?\d+)")


def problem_record(problem: Problem) -> dict[str, Any]:
    """A problem as a JSON object, its steps written out ("3 + 4 = 7")."""
    return {**asdict(problem), "steps": [str(step) for step in problem.steps]}


def problem_lines(splits: ProblemSplits) -> str:
    """All problems of the run with their split, as JSON lines (the run's problems.jsonl)."""
    lines = []
    for split in PARTS:
        for problem in splits.part(split):
            lines.append(json.dumps({"split": split, **problem_record(problem)}, ensure_ascii=False) + "\n")
    return "".join(lines)


def write_problems(path: Path, splits: ProblemSplits) -> None:
    """Write `problem_lines`, all or nothing."""
    write_atomic(path, problem_lines(splits))


def read_splits(path: Path) -> ProblemSplits:
    """The parts of a run's problems.jsonl. Raises UserError where it cannot be read."""
    parts: dict[Part, list[Problem]] = {part: [] for part in PARTS}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)}); restore it from a copy") from None
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                part, problem = _problem(json.loads(line))
                parts[part].append(problem)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UserError(
                f"{path} line {number}: cannot be read ({_reason(error)}); restore the file from a copy"
            ) from None
    return ProblemSplits(parts["prover"], parts["verifier"], parts["validation"], parts["test"], judge=parts["judge"])


def read_problems(path: Path) -> dict[str, Problem]:
    """Problem id -> Problem, from a run's problems.jsonl. Raises UserError where it cannot be read."""
    splits = read_splits(path)
    return {p.id: p for part in PARTS for p in splits.part(part)}


def _problem(record: Any) -> tuple[Part, Problem]:
    """A problem and the part it is of, from `problem_record`. Raises ValueError, TypeError, KeyError."""
    if not isinstance(record, dict):
        raise TypeError("no object")
    fields = {name: value for name, value in record.items() if name not in ("split", "steps")}
    wrong = next((name for name, value in fields.items() if not isinstance(value, str)), None)
    if wrong is not None or record["split"] not in PARTS:
        raise TypeError(f"field {wrong or 'split'!r} holds {record[wrong or 'split']!r:.40}")
    return record["split"], Problem(**fields, steps=tuple(map(_step, record["steps"])))


def _step(text: Any) -> Step:
    found = _STEP.fullmatch(text)
    if found is None:
        raise ValueError(f"step {text!r:.40}")
    return Step(int(found[1]), found[2], int(found[3]), int(found[4]))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
