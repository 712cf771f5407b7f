"""Does the analysis recover what simulated raters were given? Coverage of its intervals, bias, and how well the
exclusion rules find careless raters, over many simulated studies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from legibility.judging.accuracy import condition_results
from legibility.judging.analysis import prepare
from legibility.judging.exclusion import judge_raters
from legibility.judging.simulate import Raters, draw, study_conditions
from legibility.judging.study_folder import Study


@dataclass(frozen=True)
class Coverage:
    """`covered`: share of (simulation, condition) intervals of accuracy that hold the truth; `by_condition` the
    same by condition; `bias`: mean error; `width`: mean width. `recall`: share of careless raters excluded;
    `false_exclusion`: share of the others excluded (None where there are none)."""

    repeats: int
    covered: float
    by_condition: dict[str, float]
    bias: float
    width: float
    recall: float | None
    false_exclusion: float | None

    def record(self) -> dict[str, Any]:
        return {"simulation": True, **asdict(self)}

    def lines(self) -> list[str]:
        rules = "" if self.recall is None else f"; exclusion rules: recall {self.recall:.3f}"
        return [
            f"{self.repeats} simulated studies: intervals cover the true accuracy in {self.covered:.1%}, bias {self.bias:+.4f}, mean width {self.width:.3f}",
            f"false-exclusion rate {self.false_exclusion:.3f}{rules}",
        ]


def coverage(
    study: Study, model: Raters, raters: int, repeats: int, *, seed: int = 0, bootstrap: int = 300
) -> Coverage:
    """Simulate and analyse the study `repeats` times, with `bootstrap` resamples each."""
    key = study.key()
    conditions = study_conditions(key)
    rules = study.protocol.analysis.model_copy(update={"bootstrap": bootstrap})
    truth = np.array([model.truth(c) for c in conditions])
    values, lows, highs, caught, wronged = [], [], [], [], []
    for k in range(repeats):
        drawn = draw(study, key, model, raters, np.random.default_rng([seed, 0xC0, k]))
        judged = prepare(drawn, key, rules)
        table = judge_raters(judged, study.protocol.exclusion).set_index("rater")
        out = table.excluded != ""
        careless = drawn.groupby("rater").careless.first().reindex(table.index)
        caught += out[careless].tolist()
        wronged += out[~careless].tolist()
        kept = judged[~judged.rater.map(out) & judged.condition.isin(conditions)]
        found = [r["accuracy"] for r in condition_results(kept, conditions, rules)]
        for store, name in ((values, "value"), (lows, "low"), (highs, "high")):
            store.append([f[name] if f[name] is not None else np.nan for f in found])
    value, low, high = map(np.array, (values, lows, highs))  # (repeats, conditions)
    inside = (low <= truth) & (truth <= high)
    return Coverage(
        repeats,
        float(inside.mean()),
        {str(c): float(s) for c, s in zip(conditions, inside.mean(0), strict=True)},
        float(np.nanmean(value - truth)),
        float(np.nanmean(high - low)),
        float(np.mean(caught)) if caught else None,
        float(np.mean(wronged)) if wronged else None,
    )
