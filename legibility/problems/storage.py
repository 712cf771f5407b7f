"""A run's problems as one JSON Lines file: what every split held, so that a run can be read without its sources."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.problems.records import Problem, Step
from legibility.problems.splits import PARTS, Part, ProblemSplits


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
        for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
            record = json.loads(line)
            part = parts[record.pop("split")]
            part.append(Problem(**{**record, "steps": tuple(_step(s) for s in record["steps"])}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read ({' '.join(str(error).split())[:100]}); restore it from a copy"
        ) from None
    return ProblemSplits(parts["prover"], parts["verifier"], parts["validation"], parts["test"], judge=parts["judge"])


def read_problems(path: Path) -> dict[str, Problem]:
    """Problem id -> Problem, from a run's problems.jsonl. Raises UserError where it cannot be read."""
    splits = read_splits(path)
    return {p.id: p for part in PARTS for p in splits.part(part)}


def _step(text: str) -> Step:
    left, op, right, _, result = text.split()
    return Step(int(left), op, int(right), int(result))
