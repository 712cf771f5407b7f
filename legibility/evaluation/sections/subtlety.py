"""How well sneaky text hides its flaw: which written steps are wrong, how many, and where the first one stands.

The paper asks a large model to judge portions of a solution (Fig. 7a). Problems of the built-in world
know their steps, so here validity is exact (`legibility.problems.truth`); elsewhere (GSM8K) only the
arithmetic of each written equation is judged, and `exact` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Resamples
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import Decoding, SubtletyRow
from legibility.evaluation.text_sets import VerdictText
from legibility.evaluation.texts import of_verdict
from legibility.game.condition import START_SNEAKY, helpful, sneaky
from legibility.problems.records import Problem
from legibility.problems.truth import GradedStep, grade_steps

FLAWS = ("slip", "foreign", "unwritten", "no steps")


@dataclass
class StepGrader:
    """`grade_steps` by problem id, each text graded once: samples of small models repeat a lot."""

    problems: Mapping[str, Problem]
    _known: dict[tuple[str, str], list[GradedStep]] = field(default_factory=dict)

    def steps(self, problem_id: str, text: str) -> list[GradedStep]:
        """The written steps of a solution, graded."""
        key = (problem_id, text)
        if key not in self._known:
            self._known[key] = grade_steps(self.problems[problem_id], text)
        return self._known[key]

    def shows_mistake(self, problem_id: str, text: str) -> bool:
        """Whether a step that is not valid is written out."""
        return any(step.status != "valid" for step in self.steps(problem_id, text))


def step_table(frame: pd.DataFrame, grader: StepGrader) -> pd.DataFrame:
    """Per solution: equations written, wrong ones, those that carry an earlier mistake, arithmetic that holds, validity, the flaw.

    `validity` is the share of written steps that are valid, `least` 1 where all are and 0 else, `place`
    where the first wrong step stands (its number / steps written); all nan where no step is written
    (`place`: where none is wrong). `flaw` is the first wrong step's status, "unwritten" where steps are
    written and none is wrong, "no steps" where none is written.
    """
    rows = []
    for problem_id, text in zip(frame.problem_id, frame.text, strict=True):
        status = [s.status for s in grader.steps(problem_id, text)]
        wrong = [i for i, s in enumerate(status) if s != "valid"]
        rows.append(
            {
                "problem_id": problem_id,
                "steps": len(status),
                "wrong": len(wrong),
                "carried": status.count("carried"),
                "holds": sum(s != "slip" for s in status),
                "validity": 1 - len(wrong) / len(status) if status else np.nan,
                "least": float(not wrong) if status else np.nan,
                "place": (wrong[0] + 1) / len(status) if wrong else np.nan,
                "flaw": status[wrong[0]] if wrong else "unwritten" if status else "no steps",
            }
        )
    return pd.DataFrame(
        rows, columns=["problem_id", "steps", "wrong", "carried", "holds", "validity", "least", "place", "flaw"]
    )


def compute(run: EvaluationRun) -> list[SubtletyRow]:
    """A row per text: each round's sneaky-incorrect and helpful-correct solutions, and every kind of attacker's."""
    grader = StepGrader(run.problems)
    wanted = [(VerdictText(START_SNEAKY, "incorrect"), run.texts[START_SNEAKY])]
    for index in run.rounds:
        wanted.append((VerdictText(sneaky(index), "incorrect"), run.texts[sneaky(index)]))
        wanted.append((VerdictText(helpful(index), "correct"), run.texts[helpful(index)]))
    wanted += [(VerdictText(attackers, "incorrect"), frame) for attackers, frame in run.attackers.items()]
    rows = []
    for text, frame in run.progress.each("subtlety", wanted):
        chosen = of_verdict(frame, text.verdict)
        if len(chosen):
            rows.append(describe(text, chosen, grader, run.resamples, run.decoding()))
    return rows


def describe(
    text: VerdictText, frame: pd.DataFrame, grader: StepGrader, resamples: Resamples, decoding: Decoding
) -> SubtletyRow:
    """The row of one text (its solutions in `frame`), each figure with its interval."""
    table = step_table(frame, grader)
    problems = list(table.problem_id)
    shares = table.flaw.value_counts(normalize=True)
    return SubtletyRow(
        text=text,
        solutions=len(table),
        exact=all(bool(grader.problems[p].steps) for p in table.problem_id.unique()),
        with_steps=resamples.mean(problems, table.steps > 0).interval(),
        arithmetic_holds=resamples.ratio(problems, table.holds, table.steps).interval(),
        validity=resamples.mean(problems, table.validity).interval(),
        least_validity=resamples.mean(problems, table.least).interval(),
        wrong_steps=resamples.mean(problems, table.wrong.where(table.steps > 0)).interval(),
        carried=resamples.ratio(problems, table.carried, table.wrong).interval(),
        first_wrong_place=resamples.mean(problems, table.place).interval(),
        flaws={flaw: float(shares.get(flaw, 0.0)) for flaw in FLAWS},
        decoding=decoding,
    )
