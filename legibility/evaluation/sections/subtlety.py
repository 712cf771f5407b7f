"""How well sneaky text hides its flaw: which written steps are wrong, how many, and where the first one stands.

The paper asks a large model to judge portions of a solution (Fig. 7a). Problems of the built-in world
know their steps, so here validity is exact (`legibility.problems.truth`); elsewhere (GSM8K) only the
arithmetic of each written equation is judged, and `exact` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Resamples
from legibility.evaluation.run import Study
from legibility.problems.records import Problem
from legibility.problems.truth import GradedStep, grade_steps

FLAWS = ("slip", "foreign", "unwritten", "no steps")


@dataclass
class StepJudge:
    """`grade_steps` by problem id, each text judged once: samples of small models repeat a lot."""

    problems: Mapping[str, Problem]
    _known: dict[tuple[str, str], list[GradedStep]] = field(default_factory=dict)

    def steps(self, problem_id: str, text: str) -> list[GradedStep]:
        key = (problem_id, text)
        if key not in self._known:
            self._known[key] = grade_steps(self.problems[problem_id], text)
        return self._known[key]

    def shows_mistake(self, problem_id: str, text: str) -> bool:
        """Whether a step that is not valid is written out."""
        return any(step.status != "valid" for step in self.steps(problem_id, text))


def step_table(frame: pd.DataFrame, judge: StepJudge) -> pd.DataFrame:
    """Per solution: equations written, wrong ones, those that carry an earlier mistake, arithmetic that holds, validity, the flaw.

    `validity` is the share of written steps that are valid, `least` 1 where all are and 0 else, `place`
    where the first wrong step stands (its number / steps written); all nan where no step is written
    (`place`: where none is wrong). `flaw` is the first wrong step's status, "unwritten" where steps are
    written and none is wrong, "no steps" where none is written.
    """
    rows = []
    for problem_id, text in zip(frame.problem_id, frame.text, strict=True):
        status = [s.status for s in judge.steps(problem_id, text)]
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


def compute(study: Study) -> list[dict[str, Any]]:
    """A row per text: each round's sneaky-incorrect and helpful-correct solutions, and every kind of attacker's."""
    judge = StepJudge(study.problems)
    named = {"init sneaky incorrect": _of(study.texts["init sneaky"], "incorrect")}
    for index in study.rounds:
        named[f"round {index} sneaky incorrect"] = _of(study.texts[f"sneaky {index}"], "incorrect")
        named[f"round {index} helpful correct"] = _of(study.texts[f"game {index}"], "correct")
    for name, frame in study.attackers.items():
        named[f"{name} incorrect"] = _of(frame, "incorrect")
    return [
        {"text": name, **describe(frame, judge, study.resamples), "decoding": study.decoding()}
        for name, frame in named.items()
        if len(frame)
    ]


def describe(frame: pd.DataFrame, judge: StepJudge, resamples: Resamples) -> dict[str, Any]:
    """The figures of one text, each with its interval."""
    table = step_table(frame, judge)
    exact = all(bool(judge.problems[p].steps) for p in table.problem_id.unique())
    problems = list(table.problem_id)
    figures = {
        "with_steps": resamples.mean(problems, table.steps > 0),
        "arithmetic_holds": resamples.ratio(problems, table.holds, table.steps),
        "validity": resamples.mean(problems, table.validity),
        "least_validity": resamples.mean(problems, table.least),
        "wrong_steps": resamples.mean(problems, table.wrong.where(table.steps > 0)),
        "carried": resamples.ratio(problems, table.carried, table.wrong),
        "first_wrong_place": resamples.mean(problems, table.place),
    }
    shares = table.flaw.value_counts(normalize=True)
    return {
        "solutions": len(table),
        "exact": exact,
        **{k: f.record() for k, f in figures.items()},
        "flaws": {flaw: float(shares.get(flaw, 0.0)) for flaw in FLAWS},
    }


def _of(frame: pd.DataFrame, verdict: str) -> pd.DataFrame:
    return frame[frame.verdict == verdict]
