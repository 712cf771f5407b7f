"""Scalable oversight: what the weak model reads before it labels a solution (Sang et al. 2024; Lang et al. 2025).

- interaction: an assistant's help, either the arithmetic check of the steps the solution writes
  (`legibility.grading.arithmetic`, which knows no truth) or the assistant's own solution of the problem;
- debate: one debater is assigned "correct", one "incorrect"; both open without seeing each other, then
  rebut having read the openings;
- consultancy: one adviser, on a side drawn by lot, so one-sided advice is as often right as wrong
  on balanced items.

A speaker is handed a `Request` and nothing else: no verdict, no gold answer, no record of who is right. In
the nano world the debater for "correct" is the helpful role and the one for "incorrect" the sneaky role, and
both argue by solutions of their own: the one in favour picks one that ends in the answer at issue, the one
against one that does not. The weak model's text is the item's with the help put in front of its problem. So
labelling needs no other model than a classifier, and problem and solution stay side by side, as the model
has read them before (docs/log.md has both orders measured).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from legibility.grading import extract_answer
from legibility.grading.arithmetic import check_steps
from legibility.prompts import HELPFUL, SNEAKY
from legibility.weak_to_strong.experiment_settings import OversightSettings
from legibility.weak_to_strong.items import Item

Side = Literal["correct", "incorrect"]
SIDES: tuple[Side, Side] = ("correct", "incorrect")
SAME, NOTHING = "I solved it the same way.", "No solution to offer."
ROLE_OF = {"correct": HELPFUL, "incorrect": SNEAKY}


@dataclass(frozen=True)
class Turn:
    """One statement. `kind` is opening or rebuttal."""

    side: Side
    kind: str
    text: str


@dataclass(frozen=True)
class Request:
    """All a speaker is told: the problem's text, the solution at issue, its side, and the turns it may read."""

    problem_id: str
    question: str
    solution: str
    side: Side
    heard: tuple[Turn, ...]


class Speaker(Protocol):
    """Anything that argues for a side."""

    def speak(self, requests: Sequence[Request]) -> list[str]:
        """A statement per request, in order."""


class RoleSpeaker:
    """Argues with solutions its role wrote: `solutions[role][problem_id]`, in sampling order.

    For "correct" it wants one that ends in the answer at issue, for "incorrect" one that does not, and one not
    heard yet. The text at issue is not read out again: a speaker that has no other fitting solution says
    `SAME`, and one that has none says `NOTHING`.
    """

    def __init__(self, solutions: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self.solutions = solutions

    def speak(self, requests: Sequence[Request]) -> list[str]:
        """A statement per request, in order."""
        return [self._one(r) for r in requests]

    def _one(self, request: Request) -> str:
        offered = self.solutions[ROLE_OF[request.side]].get(request.problem_id, ())
        at_issue = extract_answer(request.solution)
        said = {t.text for t in request.heard}
        fitting = [t for t in offered if (extract_answer(t) == at_issue) == (request.side == "correct")]
        new = [t for t in fitting if t != request.solution and t not in said]
        if new:
            return new[0]
        return SAME if request.solution in fitting and SAME not in said else NOTHING


def debate(
    items: Sequence[Item], speaker: Speaker, rebuttals: int, sides: Sequence[Sequence[Side]]
) -> list[tuple[Turn, ...]]:
    """Transcripts of the items, speakers of each item in `sides` order.

    Openings have read nothing; the rebuttals of a round have read all turns before that round, and nobody
    reads the others' new turn. With one side per item this is consultancy.
    """
    transcripts: list[tuple[Turn, ...]] = [()] * len(items)
    for round_index in range(1 + rebuttals):
        asked = [
            Request(x.problem.id, x.problem.question, x.texts[0], side, heard)
            for x, heard, own in zip(items, transcripts, sides, strict=True)
            for side in own
        ]
        said = iter(speaker.speak(asked))
        kind = "opening" if round_index == 0 else "rebuttal"
        transcripts = [
            heard + tuple(Turn(side, kind, next(said)) for side in own)
            for heard, own in zip(transcripts, sides, strict=True)
        ]
    return transcripts


def overseen(
    settings: OversightSettings, items: Sequence[Item], speaker: Speaker, rng: np.random.Generator
) -> tuple[list[Item], list[tuple[Turn, ...]]]:
    """The items as the weak model reads them, and the transcripts behind them (empty for interaction)."""
    if settings.kind == "interaction":
        if settings.help == "step_check":
            notes = [step_note(x.texts[0]) for x in items]
        else:
            notes = speaker.speak([Request(x.problem.id, x.problem.question, "", "correct", ()) for x in items])
        return [_with_help(x, f"Help: {note}") for x, note in zip(items, notes, strict=True)], [()] * len(items)
    if settings.kind == "debate":
        sides: list[Sequence[Side]] = [SIDES] * len(items)
    else:
        sides = [(SIDES[int(k)],) for k in rng.integers(0, 2, len(items))]
    transcripts = debate(items, speaker, settings.rebuttals, sides)
    return [_with_help(x, written(t)) for x, t in zip(items, transcripts, strict=True)], transcripts


def written(transcript: Sequence[Turn]) -> str:
    """A transcript as the weak model reads it."""
    return "\n".join(f"{'For' if t.side == 'correct' else 'Against'}: {t.text}" for t in transcript)


def step_note(solution: str) -> str:
    """What the arithmetic check says of a solution's written steps; it knows nothing of the problem."""
    checks = check_steps(solution)
    if not checks:
        return "no steps written"
    wrong = [c.text for c in checks if not c.valid]
    return f"{len(checks)} steps, all hold" if not wrong else f"{len(checks)} steps, wrong: {wrong[0]}"


def _with_help(item: Item, help_text: str) -> Item:
    return replace(item, problem=replace(item.problem, question=f"{help_text}\n{item.problem.question}"))
