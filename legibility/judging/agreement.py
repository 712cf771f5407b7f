"""Do raters agree with each other, and with the verifiers?"""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np
import pandas as pd

from legibility.judging.protocol import AnalysisRules
from legibility.metrics import auroc, bootstrap, number
from legibility.randomness import stream


def alpha(judgments: pd.DataFrame) -> float | None:
    """Krippendorff's alpha of True / False (nominal, missing judgments allowed); None where no item has two judgments
    or all are the same."""
    table = (
        judgments.pivot(index="rater", columns="item_id", values="verdict").astype(float).to_numpy()
    )  # (raters, items)
    pairable = table[:, (~np.isnan(table)).sum(0) >= 2]
    if pairable.shape[1] == 0 or len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return None
    return number(krippendorff.alpha(reliability_data=pairable, level_of_measurement="nominal"))


def verifier_agreement(judgments: pd.DataFrame, key: pd.DataFrame, rules: AnalysisRules) -> dict[str, Any]:
    """Every verifier and the held-out judge beside people, on the judged items.

    `auroc_truth`: does the score tell right from wrong solutions; `auroc_people`: does it tell items most
    people accept from those most reject (ties left out); `auroc_people_incorrect`: the same among wrong
    solutions, where it asks whether what convinces the verifier also convinces people. `people` is the share
    of accepting raters, as a judge. Intervals are bootstraps over problems.
    """
    accepted = judgments.groupby("item_id").verdict.mean().astype(float)
    items = key.loc[accepted.index].assign(people=accepted)
    names = sorted({name for scores in items.scores for name in scores})
    judges = {name: np.array([scores.get(name, np.nan) for scores in items.scores]) for name in names}
    judges["people"] = accepted.to_numpy()
    majority, decided = accepted.to_numpy() > 0.5, accepted.to_numpy() != 0.5
    correct = items.correct.to_numpy(dtype=bool)
    members = [np.flatnonzero(items.problem_id.to_numpy() == p) for p in items.problem_id.unique()]

    def estimate(scores: np.ndarray, labels: np.ndarray, keep: np.ndarray) -> dict[str, float | None]:
        def statistic(index: np.ndarray) -> float:
            rows = np.concatenate([members[i] for i in index])
            rows = rows[keep[rows]]
            return auroc(scores[rows], labels[rows])

        return bootstrap(
            statistic,
            len(members),
            resamples=min(rules.bootstrap, 500),
            confidence=rules.confidence,
            rng=stream(rules.seed, "judging", "agreement"),
        )

    results = {}
    for name, scores in judges.items():
        results[name] = {"auroc_truth": estimate(scores, correct, ~np.isnan(scores))}
        if name != "people":
            results[name]["auroc_people"] = estimate(scores, majority, decided & ~np.isnan(scores))
            results[name]["auroc_people_incorrect"] = estimate(scores, majority, decided & ~correct & ~np.isnan(scores))
    return results
