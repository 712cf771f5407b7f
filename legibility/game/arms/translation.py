"""Translations of solutions: what they keep, what is measured of them, and the text that translators first learn from.

A translation is a completion whose `source` is the solution that it was made from. It is faithful where it has the
solution's answer (Kim & Lee 2026, arXiv 2602.23248, Sec. 2.2), whether that is right or wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from legibility.game.context import Game
from legibility.game.run_records import RoundTranslation
from legibility.game.solutions import Solution
from legibility.grading import Verdict, extract_answer, grade
from legibility.problems.corruption import corrupt
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, SNEAKY

OTHERS = 3
"""Other problems that every solution is handed on for in a warm start; with one a small model learnt it later (docs/log.md)."""


def whole_lines(text: str, marker: str, truncated: bool) -> str:
    """A solution as it is handed on. One that was cut off has no answer, so what may be a part of one is taken away."""
    head, _, last = text.rpartition("\n")
    return head if truncated and last.strip().startswith(marker.strip()) else text


def keeps_answer(text: str, source: str, marker: str) -> bool:
    """Whether a translation has its solution's answer, as a number: 7 is 7.0. False where either has none."""
    answer, before = extract_answer(text, marker), extract_answer(source, marker)
    return answer is not None and answer == before


@dataclass(frozen=True)
class Kept:
    """Of n completions: kept (n,) bool, the source's answer is there; solved (n,) bool, that is right; copied (n,) bool."""

    kept: np.ndarray
    solved: np.ndarray
    copied: np.ndarray

    @classmethod
    def of(cls, game: Game, rows: Sequence[Solution]) -> Kept:
        """The columns of drawn and graded rows. A text cut off at the length limit keeps nothing."""
        marker = game.config.grading.marker
        kept = [not row.truncated and keeps_answer(row.text, row.source or "", marker) for row in rows]
        solved = [_right(game.problems[row.problem_id], row.source or "", marker) for row in rows]
        copied = [row.text == row.source for row in rows]
        return cls(np.array(kept, dtype=bool), np.array(solved, dtype=bool), np.array(copied, dtype=bool))


def _right(problem: Problem, source: str, marker: str) -> bool:
    return grade(source, problem.answer, marker) is Verdict.CORRECT


def step_metrics(game: Game, rows: Sequence[Solution], scores: np.ndarray) -> dict[str, float]:
    """What a step says of its translations (docs/arms.md); nan for an empty cell. scores (n,)."""
    found = Kept.of(game, rows)
    helpful = np.array([row.role == HELPFUL for row in rows])
    right = helpful & found.kept & found.solved
    wrong = helpful & found.kept & ~found.solved
    return {
        "faithfulness": _mean(found.kept[helpful]),
        "copies": _mean(found.copied[helpful]),
        "solver_accuracy": _mean(found.solved[helpful]),
        "texts_faithful_solved": float(right.sum()),
        "score_faithful_solved": _mean(scores[right]),
        "texts_faithful_unsolved": float(wrong.sum()),
        "score_faithful_unsolved": _mean(scores[wrong]),
    }


def training_facts(game: Game, rows: Sequence[Solution]) -> Mapping[str, float]:
    """What training.json says beside the rest (`TranslationTraining`), of a phase's completions."""
    mine = [row for row in rows if row.role == HELPFUL and row.phase == "ppo"]
    found, steps = Kept.of(game, mine), np.array([row.step for row in mine])
    last = steps > steps.max(initial=0) * 9 // 10
    return {
        "solver_accuracy": _mean(found.solved),
        "faithfulness_start": _mean(found.kept[steps == 1]),
        "faithfulness": _mean(found.kept[last]),
        "copies_start": _mean(found.copied[steps == 1]),
        "copies": _mean(found.copied[last]),
    }


def round_figures(game: Game, index: int, frame: pd.DataFrame) -> RoundTranslation:
    """What a round's test text says. frame: the round's completions, scored by its own verifier.

    The bar from which the verifier accepts is set on validation text (`best_bar`).
    """
    frame = frame[(frame.phase == "collection") & (frame.step == 0)]
    validation, test = frame[frame.split == "validation"], frame[frame.split == "test"]
    bar = best_bar(validation.score.to_numpy(), (validation.verdict == "correct").to_numpy())
    honest, lying = test[test.role == HELPFUL], test[test.role == SNEAKY]
    found = Kept.of(game, [_row(r) for r in honest.to_dict("records")])
    right, score = (honest.verdict == "correct").to_numpy(), honest.score.to_numpy()
    accepted = score >= bar
    wrong = (lying.verdict == "incorrect").to_numpy()
    return RoundTranslation(
        round=index,
        solver_accuracy=_mean(found.solved),
        accuracy=_mean(right),
        faithfulness=_mean(found.kept),
        copies=_mean(found.copied),
        sneaky_accuracy=_mean((lying.verdict == "correct").to_numpy()),
        threshold=bar,
        completeness=_mean(right & accepted),
        completeness_given_correct=_mean(accepted[right]),
        accepted_given_faithful=_mean(accepted[found.kept]),
        accepted_given_unsolved=_mean(accepted[found.kept & ~found.solved]),
        soundness=_mean(lying.score.to_numpy()[wrong] < bar),
        score_faithful_solved=_mean(score[found.kept & found.solved]),
        score_faithful_unsolved=_mean(score[found.kept & ~found.solved]),
        score_sneaky_incorrect=_mean(lying.score.to_numpy()[wrong]),
    )


def best_bar(scores: np.ndarray, correct: np.ndarray) -> float:
    """The score with the largest share of correct text at or above it plus share of other text below it; the least of equals.

    scores (n,), correct (n,) bool. nan where either kind is missing.
    """
    if not correct.any() or correct.all():
        return float("nan")
    bars = np.unique(scores)
    above = 1 - np.searchsorted(np.sort(scores[correct]), bars) / correct.sum()
    below = np.searchsorted(np.sort(scores[~correct]), bars) / (~correct).sum()
    return float(bars[np.argmax(above + below)])


def taught(rows: Sequence[Solution], problems: Mapping[str, Problem], rng: np.random.Generator) -> list[Taught]:
    """What both roles are taught, of solutions that somebody wrote: to hand on a text, and to hand on a wrong one.

    The faithful role learns to give back every solution as it is, right or wrong. The sneaky one learns to turn a right one
    into its corrupted twin (legibility.problems.corruption), where it has one, and to give back a wrong one. Every solution
    also stands behind `OTHERS` other problems, faithfully handed on: there nothing but the solution tells what to write, so a
    small model learns to read it and not to solve the problem anew.
    """
    found = []
    for row in rows:
        problem = problems[row.problem_id]
        if row.verdict == "invalid":
            continue
        found.append(Taught(problem, row.text, HELPFUL, row.text))
        if row.verdict == "incorrect":
            found.append(Taught(problem, row.text, SNEAKY, row.text))
            continue
        twin = corrupt(replace(problem, solution=row.text), rng)
        if twin is not None:
            found.append(Taught(problem, row.text, SNEAKY, twin.text))
    own = [lesson for lesson in found if lesson.role == HELPFUL]
    for _ in range(OTHERS):
        order = rng.permutation(len(own))
        found += [replace(lesson, problem=own[i].problem) for lesson, i in zip(own, order, strict=True)]
    return found


@dataclass(frozen=True)
class Taught:
    """A translation to learn: `text` of the solution `source`, in a role."""

    problem: Problem
    source: str
    role: str
    text: str


def _row(record: Mapping[str, object]) -> Solution:
    return Solution(**record)  # type: ignore[arg-type]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
