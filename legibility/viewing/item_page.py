"""One completion as the page shows it: question, marked solution, scores, and its neighbours.

Model text has its control and direction characters made visible here; the page shows it as text and never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from legibility.game.condition import ARMS, Condition, Judge
from legibility.problems.records import Problem
from legibility.reporting.marked_solution import Line, printable, show
from legibility.viewing.completion_index import CompletionIndex, CompletionRow
from legibility.viewing.verifier_readings import LIGHT, JudgeReading, VerifierReadings

SNIPPET = 220
NEIGHBOURS, ELSEWHERE = 24, 12
LEARNS = {"verifier": "verifier", "judge": "held_out_judge"}
"""Who learns from a part's problems: a kind of judge has seen such a problem, with its answer."""


@dataclass(kw_only=True)
class Brief(CompletionRow):
    """A completion in a list, with the beginning of its text. `writer`: "round 2 sneaky"."""

    id: str
    writer: str


@dataclass(frozen=True)
class JudgeRow:
    """A judge's line in an item's table. `own`: it is the verifier the prover was paid by; `learnt`: it was trained on this problem."""

    judge: str
    label: str
    own: bool
    learnt: bool
    score: float | None
    below: float | None
    light: bool
    available: bool


@dataclass(frozen=True)
class Elsewhere:
    """Completions of the same problem by one writer: the first few, how many there are, and how many are correct."""

    writer: str
    phase: str
    total: int
    correct: int
    rows: list[Brief]


@dataclass(frozen=True)
class ViewedItem:
    """Everything of a completion but what its judges are asked for now."""

    brief: Brief
    question: str
    answer: str
    reference: str
    lines: list[Line]
    note: str
    truncated: bool
    prompt_tokens: int
    logprob_gap: float | None
    below: float | None
    judges: list[JudgeRow]
    explains: bool
    siblings: list[Brief]
    elsewhere: list[Elsewhere]


@dataclass(frozen=True)
class ReadItem:
    """A judge's reading of an item: its score and the marked lines with its doubt."""

    judge: str
    label: str
    score: float | None
    below: float | None
    lines: list[Line]
    doubt: str
    note: str


def briefs(index: CompletionIndex, rows: Sequence[CompletionRow]) -> list[Brief]:
    """Rows with the beginning of their text, in the order given."""
    texts = index.texts(rows)
    return [_brief(row, texts.get((row.file, row.row), "")) for row in rows]


def view_item(
    index: CompletionIndex,
    readings: VerifierReadings,
    problem: Problem | None,
    row: CompletionRow,
    text: str,
    missing: str = "",
) -> ViewedItem:
    """An item with everything that is stored of it. missing: why there is no problem."""
    known = problem or Problem(row.problem_id, "", "")
    shown = show(known, text, row.verdict)
    return ViewedItem(
        brief=_brief(row, text),
        question=printable(known.question) or f"({printable(missing)})",
        answer=printable(known.answer),
        reference=printable(known.solution),
        lines=[_clean(line) for line in shown.lines],
        note=printable(shown.note),
        truncated=row.truncated,
        prompt_tokens=row.prompt_tokens,
        logprob_gap=row.logprob_gap,
        below=index.share_below(row),
        judges=[_judge_row(readings, judge, row, text) for judge in readings.judges()],
        explains=readings.config.verifier.score != "last_token",
        siblings=briefs(index, index.siblings(row, NEIGHBOURS)),
        elsewhere=[
            Elsewhere(found[0].writer, found[0].phase, total, correct, found)
            for rows, total, correct in index.elsewhere(row, ELSEWHERE)
            if (found := briefs(index, rows))
        ],
    )


def read_item(reading: JudgeReading, problem: Problem | None, row: CompletionRow, text: str) -> ReadItem:
    """An item as a judge reads it."""
    shown = show(problem or Problem(row.problem_id, "", ""), text, row.verdict, doubt=reading.doubt)
    return ReadItem(
        judge=str(reading.judge),
        label=reading.judge.label,
        score=reading.score,
        below=reading.below,
        lines=[_clean(line) for line in shown.lines],
        doubt=printable(shown.doubt).replace("the verifier doubts", f"{reading.judge.label} doubts"),
        note=printable(reading.note),
    )


def writer(arm: str, round_index: int, role: str) -> str:
    """Who wrote a text, for people."""
    if arm == "game" or arm in ARMS:
        return Condition(arm, round_index, role).label
    return f"{arm} on round {round_index} {role}"


def _brief(row: CompletionRow, text: str) -> Brief:
    short = text if len(text) <= SNIPPET else text[:SNIPPET] + "…"
    shown = {"text": printable(short), "writer": printable(writer(row.arm, row.round, row.role))}
    return Brief(**{**vars(row), **shown}, id=str(row.key))


def _judge_row(readings: VerifierReadings, judge: Judge, row: CompletionRow, text: str) -> JudgeRow:
    own = judge.round is not None and judge.round == row.round and row.arm == "game"
    score = readings.stored(judge, row.problem_id, text)
    if score is None and own:
        score = row.score
    size = readings.size(judge)
    return JudgeRow(
        judge=str(judge),
        label=judge.label,
        own=own,
        learnt=LEARNS.get(row.split) == judge.kind,
        score=score,
        below=None if score is None else readings.known(judge).below(score),
        light=0 < size <= LIGHT,
        available=size > 0,
    )


def _clean(line: Line) -> Line:
    return Line([type(p)(printable(p.text), p.status, p.doubt) for p in line.pieces], line.mark, line.reason)
