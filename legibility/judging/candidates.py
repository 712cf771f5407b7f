"""What a study can be made of: graded solutions of test problems, by condition.

A run folder gives every test completion of its arms, rounds and roles. A problem file gives one
condition, the data set's reference solutions and their corrupted twins (`corruption`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from legibility.config import Config
from legibility.errors import UserError
from legibility.evaluation.texts import test_texts
from legibility.game.condition import (
    HALFWAY,
    LENGTH_PENALISED,
    REFERENCE,
    Condition,
    Judge,
    conditions_of,
    judges_of,
    verifier,
)
from legibility.game.run_folder import RunFolder
from legibility.judging.assistance import Adviser
from legibility.models.verifier_ensemble import load_verifier
from legibility.problems.corruption import corrupt
from legibility.problems.record_files import read_file
from legibility.problems.records import Problem
from legibility.problems.sources import CALCULATOR_MARK, FileSource, load_source
from legibility.problems.storage import read_problems
from legibility.problems.truth import grade_steps
from legibility.randomness import stream

COLUMNS = ["arm", "round", "role", "problem_id", "text", "correct", "score", "completion_tokens", "first_wrong_line"]

Scores = dict[Judge, float]
"""Raw scores of one solution."""


@dataclass(frozen=True)
class Candidates:
    """Solutions a study may be made of.

    frame: one row per readable solution (COLUMNS). score: the scores that every judge of the run gives to rows of
    the frame, one mapping per row. adviser: the verifier of a round (None: the last) whose doubts raters may be shown;
    raises UserError where there is none. run: name of the source; origin: path of the run folder, where results may be
    written (None for a problem file).
    """

    frame: pd.DataFrame
    problems: Mapping[str, Problem]
    run: str
    origin: Path | None
    score: Callable[[pd.DataFrame], list[Scores]]
    adviser: Callable[[int | None], Adviser]

    @property
    def conditions(self) -> list[Condition]:
        """The conditions that have candidates, in order."""
        return conditions_of(self.frame)

    def rows(self, condition: Condition) -> pd.DataFrame:
        """The candidates of a condition."""
        f = self.frame
        return f[(f.arm == condition.arm) & (f["round"] == condition.round) & (f.role == condition.role)]


def candidates_of(source: Path, seed: int) -> Candidates:
    """The candidates of a run folder, or of a JSONL file of problems with worked solutions.

    seed: of the corrupted twins. Raises UserError where there is nothing to judge.
    """
    return reference_candidates(source, seed) if source.is_file() else run_candidates(source)


def run_candidates(path: Path) -> Candidates:
    """Test completions of a finished run's start, rounds and correctness-only arm; unreadable answers are left out.

    Raises UserError where there is no run, or no finished round.
    """
    run = RunFolder.existing(path)
    if not run.rounds():
        raise UserError(
            f"{path}: no finished round yet, so there is nothing to judge; go on with: {run.resume_command}"
        )
    config: Config = run.config()
    problems = read_problems(run.problems_file)
    texts = test_texts(run).items()
    frame = pd.concat([f for c, f in texts if c not in (HALFWAY, LENGTH_PENALISED) and len(f)], ignore_index=True)
    frame = frame[frame.verdict != "invalid"].reset_index(drop=True)
    frame["correct"] = frame.verdict == "correct"
    frame["first_wrong_line"] = [
        None if correct else first_wrong_line(problems[p], text)
        for p, text, correct in zip(frame.problem_id, frame.text, frame.correct, strict=True)
    ]

    def score(rows: pd.DataFrame) -> list[Scores]:
        asked = [problems[p] for p in rows.problem_id]
        columns = {
            judge: load_verifier(judge.settings(config), "cpu", source=str(run.verified(judge.phase))).score(
                asked, list(rows.text)
            )
            for judge in judges_of(run)
        }
        return [{judge: float(values[i]) for judge, values in columns.items()} for i in range(len(rows))]

    def adviser(wanted: int | None) -> Adviser:
        known = run.rounds()
        if wanted is not None and wanted not in known:
            rounds = ", ".join(map(str, known))
            raise UserError(f"--doubts-of {wanted}: {path} has no verifier of that round; it has {rounds}")
        if config.verifier.score == "last_token":
            raise UserError(
                f"--assisted: the verifiers of {path} score by a head on the last token, which has no doubts to show; use "
                "a run with verifier.score likelihood or token"
            )
        judge = verifier(known[-1] if wanted is None else wanted)
        loaded = load_verifier(judge.settings(config), "cpu", source=str(run.verified(judge.phase)))
        return Adviser(judge, loaded.explain)

    return Candidates(frame[COLUMNS], problems, run.path.resolve().name, run.path.resolve(), score, adviser)


def reference_candidates(path: Path, seed: int) -> Candidates:
    """One condition, `reference:0:reference`: worked solutions as they are, and a corrupted twin of each.

    Raises UserError where no solution can be corrupted.
    """
    problems = {p.id: p for p in load_source(_mapping(path))}
    rows = []
    for problem in problems.values():
        twin = corrupt(problem, stream(seed, "judging", "twin", problem.id)) if problem.solution else None
        if twin is not None:  # a problem without a twin could not be balanced
            rows += [(problem.id, problem.solution, True, None), (problem.id, twin.text, False, twin.line)]
    if not rows:
        raise UserError(
            f"{path}: no worked solution that can be corrupted; give problems whose solutions write their steps"
        )
    frame = pd.DataFrame(rows, columns=["problem_id", "text", "correct", "first_wrong_line"])
    frame = frame.assign(arm=REFERENCE, round=0, role=REFERENCE, score=np.nan, completion_tokens=None)

    def adviser(wanted: int | None) -> Adviser:
        raise UserError(f"--assisted: {path} is a file of problems, and no verifier comes with it; give a run folder")

    def score(chosen: pd.DataFrame) -> list[Scores]:
        return [{} for _ in range(len(chosen))]

    return Candidates(frame[COLUMNS], problems, path.stem, None, score, adviser)


def _mapping(path: Path) -> FileSource:
    """GSM8K's layout (solution and "#### gold" in one field), or question, answer and solution fields."""
    _, first = next(read_file(path), ("", {}))
    answer = str(first.get("answer", ""))
    if "solution" in first:
        return FileSource(path=str(path), solution="solution")
    if CALCULATOR_MARK.search(answer) or "####" in answer:
        return FileSource(path=str(path), solution="answer", answer_marker="####")
    raise UserError(
        f"{path}: the first record has no worked solution; give a run folder, or JSONL with question, answer and solution"
    )


def first_wrong_line(problem: Problem, text: str) -> int | None:
    """1-based line of the first written step that is not valid, or None."""
    wrong = next((s for s in grade_steps(problem, text) if s.status != "valid"), None)
    return None if wrong is None else text.count("\n", 0, wrong.check.start) + 1


def chosen_conditions(candidates: Candidates, wanted: Iterable[str] | None) -> list[Condition]:
    """The conditions asked for, or all. Raises UserError for one the source does not have, or one named twice."""
    known = candidates.conditions
    if wanted is None:
        return known
    chosen = [Condition.parse(w) for w in wanted]
    for condition in chosen:
        if condition not in known:
            raise UserError(f"condition {condition}: not in {candidates.run}; it has {', '.join(map(str, known))}")
    if len(set(chosen)) < len(chosen):
        raise UserError("--conditions names a condition twice")
    return chosen
