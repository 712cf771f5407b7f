"""A model's solution cut into lines with every written step marked, for the report and for `ask`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from legibility.problems.records import Problem
from legibility.problems.truth import GradedStep, grade_steps, missing_steps


@dataclass(frozen=True)
class Piece:
    """A stretch of a line; `status` is "" for plain text, else a `GradedStep.status`."""

    text: str
    status: str


@dataclass(frozen=True)
class Line:
    """One line of a solution, its mark ("", "✓" or "✗") and why."""

    pieces: list[Piece]
    mark: str
    reason: str


@dataclass(frozen=True)
class Shown:
    """A solution as the page shows it. `percentile` is the share of the round's valid test solutions,
    both roles, with a lower score (ties count half)."""

    lines: list[Line]
    note: str
    verdict: str
    score: float | None
    percentile: float | None


def show(
    problem: Problem, text: str, verdict: str, score: float | None = None, scores: np.ndarray | None = None
) -> Shown:
    """A solution cut into marked lines. `scores` is sorted: the scores its percentile is taken among."""
    graded = grade_steps(problem, text)
    percentile = None
    if score is not None and np.isfinite(score) and scores is not None and len(scores):
        percentile = (
            float(np.searchsorted(scores, score, "left") + np.searchsorted(scores, score, "right")) / 2 / len(scores)
        )
    lines, start = [], 0
    for line in text.split("\n"):
        lines.append(_line(line, start, graded))
        start += len(line) + 1
    return Shown(lines, _note(problem, text, graded), verdict, score if percentile is not None else None, percentile)


def _line(line: str, start: int, graded: list[GradedStep]) -> Line:
    """`start` is the line's offset in the text; a step that runs over several lines is marked on its first."""
    here = [s for s in graded if start <= s.check.start < start + max(len(line), 1)]
    pieces, at = [], 0
    for step in here:
        begin, end = step.check.start - start, min(step.check.end - start, len(line))
        if begin < at:  # the pairs of a chain a = b = c overlap
            begin = at
        if end <= begin:
            continue
        pieces += [Piece(line[at:begin], ""), Piece(line[begin:end], step.status)]
        at = end
    pieces.append(Piece(line[at:], ""))
    wrong = [s for s in here if s.status != "valid"]
    reasons = list(dict.fromkeys(s.reason for s in wrong))
    return Line([p for p in pieces if p.text], "✗" if wrong else "✓" if here else "", "; ".join(reasons))


def _note(problem: Problem, text: str, graded: list[GradedStep]) -> str:
    if not graded:
        return "no step is written out, so there is nothing to check"
    missing = missing_steps(problem, text)
    if missing and all(s.status == "valid" for s in graded):
        return "leaves out " + ", ".join(map(str, missing))
    return ""


def printable(text: str) -> str:
    """Text with control and direction characters replaced by a visible mark; line ends and tabs stay."""
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" else c for c in text)
