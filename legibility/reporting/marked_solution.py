"""A model's solution cut into lines with every written step marked, for the report and for `ask`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from legibility.evaluation.doubts import Doubt, doubted
from legibility.problems.records import Problem
from legibility.problems.truth import GradedStep, grade_steps, missing_steps


@dataclass(frozen=True)
class Piece:
    """A stretch of a line; `status` is "" for plain text, else a `GradedStep.status`.

    doubt: 0, or how much the verifier doubts it, up to 1 for the text's most doubted token.
    """

    text: str
    status: str
    doubt: float = 0.0


@dataclass(frozen=True)
class Line:
    """One line of a solution, its mark ("", "✓" or "✗") and why."""

    pieces: list[Piece]
    mark: str
    reason: str


@dataclass(frozen=True)
class Shown:
    """A solution as the page shows it. `percentile` is the share of the round's valid test solutions,
    both roles, with a lower score (ties count half). `doubt` says where its verifier doubts most."""

    lines: list[Line]
    note: str
    verdict: str
    score: float | None
    percentile: float | None
    doubt: str = ""


def show(
    problem: Problem,
    text: str,
    verdict: str,
    score: float | None = None,
    scores: np.ndarray | None = None,
    doubt: Doubt | None = None,
) -> Shown:
    """A solution cut into marked lines. `scores` is sorted: the scores its percentile is taken among."""
    graded = grade_steps(problem, text)
    percentile = None
    if score is not None and np.isfinite(score) and scores is not None and len(scores):
        percentile = (
            float(np.searchsorted(scores, score, "left") + np.searchsorted(scores, score, "right")) / 2 / len(scores)
        )
    lines, start, at = [], 0, 0
    for line in text.split("\n"):
        first = at  # steps come in order, so each line takes those up to its end
        while at < len(graded) and graded[at].check.start < start + max(len(line), 1):
            at += 1
        lines.append(_doubted(_line(line, start, graded[first:at]), start, doubt))
        start += len(line) + 1
    return Shown(
        lines,
        _note(problem, text, graded),
        verdict,
        score if percentile is not None else None,
        percentile,
        doubt_line(doubt, "the verifier"),
    )


def _line(line: str, start: int, here: list[GradedStep]) -> Line:
    """`start` is the line's offset in the text; `here` are the steps that begin on it, which is where they are marked."""
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


def _doubted(line: Line, start: int, doubt: Doubt | None) -> Line:
    """The line with its pieces cut at the tokens that are doubted."""
    marked = [(d.start - start, d.end - start, d.strength) for d in doubted(doubt.tokens)] if doubt is not None else []
    if not marked:
        return line
    pieces, at = [], 0
    for piece in line.pieces:
        end = at + len(piece.text)
        cuts = sorted({at, end, *(x for first, last, _ in marked for x in (first, last) if at < x < end)})
        for first, last in pairwise(cuts):
            how = max((d for a, b, d in marked if a <= first and last <= b), default=0.0)
            pieces.append(Piece(piece.text[first - at : last - at], piece.status, how))
        at = end
    return replace(line, pieces=pieces)


def doubt_line(doubt: Doubt | None, reader: str) -> str:
    """Where a verifier, by its name, doubts most: the token that lowers its score most, its line and share; "" for none."""
    worst = min(doubt.tokens, key=lambda token: token.share, default=None) if doubt is not None else None
    if doubt is None or worst is None or worst.share >= 0:
        return ""
    text = doubt.text[worst.start : worst.end]
    line = doubt.text.count("\n", 0, worst.start) + 1
    place = f"“{printable(text.strip()) or '␣'}” in line {line}" if text else "the end"
    return f"{reader} doubts {place} most: it takes {-worst.share:.2f} off, which leaves {doubt.score:.2f}"


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
