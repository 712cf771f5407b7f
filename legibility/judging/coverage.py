"""Does the analysis recover what simulated raters were given?

Coverage of its intervals, bias, and how well the exclusion rules find careless raters, over many simulated studies.
"""

from __future__ import annotations

import numpy as np

from legibility.judging.accuracy import condition_results
from legibility.judging.exclusion import excluded_raters
from legibility.judging.joined_table import joined_table, study_conditions
from legibility.judging.simulated_raters import SimulatedRaters, draw
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import Coverage


def coverage(
    study: StudyFolder, model: SimulatedRaters, raters: int, repeats: int, *, seed: int = 0, bootstrap: int = 300
) -> Coverage:
    """Simulate and analyse the study `repeats` times, with `bootstrap` resamples each."""
    key = study.key()
    conditions = study_conditions(key)
    rules = study.protocol.analysis.model_copy(update={"bootstrap": bootstrap})
    truth = np.array([model.truth(c) for c in conditions])
    caught: list[bool] = []  # a careless rater each: excluded?
    wronged: list[bool] = []  # any other rater each: excluded?
    estimates = np.full((3, repeats, len(conditions)), np.nan)  # value, low, high
    for k in range(repeats):
        drawn = draw(study, key, model, raters, np.random.default_rng([seed, 0xC0, k]))
        judged = joined_table(drawn, key, rules)
        careless = drawn.groupby("rater").careless.first()
        out = {r.rater: bool(r.excluded) for r in excluded_raters(judged, study.protocol.exclusion)}
        for rater, excluded in out.items():
            (caught if careless[rater] else wronged).append(excluded)
        kept = judged[~judged.rater.map(out) & judged.condition.isin(conditions) & ~judged.assisted]
        if kept.empty:  # every rater was excluded: nothing is estimated, so nothing is covered
            continue
        found = [result.accuracy for result in condition_results(kept, conditions, rules)]
        estimates[:, k] = [
            [np.nan if x is None else x for x in numbers]
            for numbers in zip(*((e.value, e.low, e.high) for e in found), strict=True)
        ]
    value, low, high = estimates
    inside = (low <= truth) & (truth <= high)  # (repeats, conditions)
    return Coverage(
        repeats=repeats,
        covered=float(inside.mean()),
        by_condition={c: float(s) for c, s in zip(conditions, inside.mean(0), strict=True)},
        bias=_mean(value - truth),
        width=_mean(high - low),
        recall=float(np.mean(caught)) if caught else None,
        false_exclusion=float(np.mean(wronged)) if wronged else None,
    )


def _mean(values: np.ndarray) -> float | None:
    """Mean of the known numbers; None where there is none."""
    return None if np.isnan(values).all() else float(np.nanmean(values))
