"""Do raters agree with each other, and with the verifiers?"""

from __future__ import annotations

import krippendorff
import numpy as np
import pandas as pd

from legibility.judging.protocol import AnalysisRules
from legibility.judging.results_schema import JudgeAgreement
from legibility.metrics import auroc, bootstrap, number
from legibility.randomness import stream
from legibility.stored import Interval

PEOPLE = "people"
"""The name under which the share of accepting raters stands among the judges."""


def alpha(judgments: pd.DataFrame) -> float | None:
    """Krippendorff's alpha of True / False (nominal, missing judgments allowed).

    None where no item has two judgments or all are the same. judgments: rater, item_id, verdict.
    """
    if judgments.empty:
        return None
    verdicts = judgments.pivot(index="rater", columns="item_id", values="verdict")
    table = verdicts.astype(float).to_numpy()  # (raters, items)
    pairable = table[:, (~np.isnan(table)).sum(0) >= 2]
    if pairable.shape[1] == 0 or len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return None
    return number(krippendorff.alpha(reliability_data=pairable, level_of_measurement="nominal"))


def verifier_agreement(judgments: pd.DataFrame, key: pd.DataFrame, rules: AnalysisRules) -> dict[str, JudgeAgreement]:
    """Every verifier and the held-out judge beside people, on the judged items.

    `auroc_truth`: does the score tell right from wrong solutions; `auroc_people`: does it tell items most
    people accept from those most reject (ties left out); `auroc_people_incorrect`: the same among wrong
    solutions, where it asks whether what convinces the verifier also convinces people. `people` is the share
    of accepting raters, used as a score; without judgments nobody agrees with anything. Intervals are bootstraps over problems.

    judgments: rater, item_id, verdict; key: problem_id, correct, scores (by judge), indexed by item_id.
    """
    if judgments.empty:
        return {}
    accepted = judgments.groupby("item_id").verdict.mean().astype(float)
    items = key.loc[accepted.index].assign(people=accepted)
    judges = sorted({judge for scores in items.scores for judge in scores})
    columns = {str(judge): np.array([scores.get(judge, np.nan) for scores in items.scores]) for judge in judges}
    people = accepted.to_numpy()
    majority, decided = people > 0.5, people != 0.5
    correct = items.correct.to_numpy(dtype=bool)
    members = [np.flatnonzero(items.problem_id.to_numpy() == p) for p in items.problem_id.unique()]

    def estimate(scores: np.ndarray, labels: np.ndarray, keep: np.ndarray) -> Interval:
        def statistic(index: np.ndarray) -> float:
            rows = np.concatenate([members[i] for i in index])
            rows = rows[keep[rows]]
            return auroc(scores[rows], labels[rows])

        found = bootstrap(
            statistic,
            len(members),
            resamples=min(rules.bootstrap, 500),
            confidence_level=rules.confidence_level,
            rng=stream(rules.seed, "judging", "agreement"),
        )
        return Interval(**found)

    results = {}
    for name, scores in columns.items():
        known = ~np.isnan(scores)
        results[name] = JudgeAgreement(
            auroc_truth=estimate(scores, correct, known),
            auroc_people=estimate(scores, majority, decided & known),
            auroc_people_incorrect=estimate(scores, majority, decided & ~correct & known),
        )
    results[PEOPLE] = JudgeAgreement(auroc_truth=estimate(people, correct, ~np.isnan(people)))
    return results
