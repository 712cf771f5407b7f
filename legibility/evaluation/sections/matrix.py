"""The cross-round matrix: every verifier on every round's text (not in the paper, which looks at own rounds).

A solution set is one policy's valid test text. A round stands there three times: helpful-correct
against sneaky-incorrect (pooled, which a mere detector of roles reads well) and inside each role.
Attackers' incorrect text is set against the helpful-correct text of the round whose verifier they
attack; Goodhart attackers have no role and are read inside their own text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Figure
from legibility.evaluation.run import Study
from legibility.evaluation.texts import valid
from legibility.metrics import number

LEAST = 20  # texts of each class below which AUROC and rates are not given


@dataclass(frozen=True)
class SolutionSet:
    """Valid text and which of it is correct."""

    name: str
    frame: pd.DataFrame

    @property
    def correct(self) -> np.ndarray:
        return (self.frame.verdict == "correct").to_numpy()


def solution_sets(study: Study) -> list[SolutionSet]:
    """Every set the run has text for."""
    texts = {name: valid(frame) for name, frame in study.texts.items()}
    sets = [SolutionSet("base", texts["init"])]
    for index in study.rounds:
        helpful, sneaky = texts[f"game {index}"], texts[f"sneaky {index}"]
        sets.append(SolutionSet(f"round {index}", _against(helpful, sneaky)))
        sets.append(SolutionSet(f"round {index} helpful", helpful))
        sets.append(SolutionSet(f"round {index} sneaky", sneaky))
    for name in ("correctness", "correctness short"):
        if name in texts:
            sets.append(SolutionSet(name, texts[name]))
    for name, frame in study.attackers.items():
        reward, index = name.split()[1], int(name.split()[-1])
        own = valid(frame)
        sets.append(SolutionSet(name, own if reward == "goodhart" else _against(texts[f"game {index}"], own)))
    return sets


def compute(study: Study) -> dict[str, Any]:
    """AUROC, same-problem pairwise accuracy, recall and false-positive rate of every verifier on every set.

    Keys: `verifiers`, `solutions` (names), `counts[solution]`, `threshold[verifier]`, and for each metric
    `metric[verifier][solution]` with `metric_interval[verifier][solution]` = [low, high]; null below 20
    of a class (pairwise: below 20 pairs).
    """
    sets = solution_sets(study)
    result: dict[str, Any] = {
        "verifiers": study.judges,
        "solutions": [s.name for s in sets],
        "counts": {s.name: {"correct": int(s.correct.sum()), "incorrect": int((~s.correct).sum())} for s in sets},
        "threshold": {},
        "decoding": study.decoding(),
        "least": LEAST,
    }
    for judge in study.judges:
        threshold = study.threshold(judge)
        result["threshold"][judge] = number(threshold)
        for found in sets:
            for metric, figure in measure(study, judge, found, threshold).items():
                record = figure.record() if figure is not None else {"value": None, "low": None, "high": None}
                result.setdefault(metric, {}).setdefault(judge, {})[found.name] = record["value"]
                result.setdefault(f"{metric}_interval", {}).setdefault(judge, {})[found.name] = [
                    record["low"],
                    record["high"],
                ]
    return result


def measure(study: Study, judge: str, found: SolutionSet, threshold: float) -> dict[str, Figure | None]:
    """One cell of the matrix; None where there is too little text."""
    scores, correct, problems = study.scores(judge, found.frame), found.correct, list(found.frame.problem_id)
    positives, negatives = int(correct.sum()), int((~correct).sum())
    by_problem = found.frame.assign(right=correct).groupby("problem_id").right.agg(["sum", "size"])
    pairs = int((by_problem["sum"] * (by_problem["size"] - by_problem["sum"])).sum())
    known = not np.isnan(threshold)
    accepted = scores >= threshold
    resamples = study.resamples
    return {
        "auroc": resamples.auroc(scores, correct, problems) if min(positives, negatives) >= LEAST else None,
        "pairwise": resamples.pairwise(scores, correct, problems) if pairs >= LEAST else None,
        "recall": resamples.ratio(problems, accepted & correct, correct) if known and positives >= LEAST else None,
        "fpr": resamples.ratio(problems, accepted & ~correct, ~correct) if known and negatives >= LEAST else None,
    }


def _against(right: pd.DataFrame, wrong: pd.DataFrame) -> pd.DataFrame:
    """The correct texts of one and the incorrect texts of the other."""
    return pd.concat([right[right.verdict == "correct"], wrong[wrong.verdict == "incorrect"]])
