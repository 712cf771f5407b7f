"""Made-up raters, for planning a study and testing its analysis. Never people, and labelled so everywhere.

A rater is right about an item with probability logistic(mu_condition + rater + problem), with normal
rater and problem effects and mu such that the condition's mean is the accuracy asked for; a lapse is a
coin flip; careless raters flip a coin for everything, half of them fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import ATTENTION
from legibility.judging.table import SIMULATION

CHECK_ACCURACY = 0.98  # of raters who read


@dataclass(frozen=True)
class SimulatedRaters:
    """What made-up raters are like.

    accuracy: by condition, without lapses and without doubts shown; gain: how much more it is with them. lapse: share of judgments that are coin flips; careless: share of raters
    who flip a coin for everything. rater_sd, problem_sd: spreads on the logit scale.
    """

    accuracy: Mapping[Condition, float]
    lapse: float = 0.02
    gain: float = 0.0
    careless: float = 0.0
    rater_sd: float = 0.4
    problem_sd: float = 0.6
    median_seconds: float = 12.0

    def truth(self, condition: Condition) -> float:
        """Expected share of right judgments of a rater who is not careless."""
        return (1 - self.lapse) * self.accuracy[condition] + self.lapse / 2


def parse_accuracy(text: str, conditions: Sequence[Condition]) -> dict[Condition, float]:
    """ "0.8", "game:0:helpful=0.7,0.8", … -> accuracy of every condition. Raises UserError."""
    default: float | None = None
    found: dict[Condition, float] = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < 1:
            raise UserError(f"--accuracy {part!r}: write a number between 0 and 1, or ARM:ROUND:ROLE=number")
        if equals:
            found[Condition.parse(name)] = number
        else:
            default = number
    unknown = [str(c) for c in found if c not in conditions]
    if default is not None:
        found = {c: default for c in conditions} | found
    missing = [str(c) for c in conditions if c not in found]
    if unknown or missing:
        raise UserError(
            f"--accuracy: {'not in this study' if unknown else 'no number for'}: {', '.join(unknown or missing)}"
        )
    return {c: found[c] for c in conditions}


def draw(
    study: StudyFolder, key: pd.DataFrame, raters: SimulatedRaters, count: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Judgments of `count` raters, one per slot: item_id, rater, verdict, seconds, careless, assisted.

    key: the study's sealed key (`StudyFolder.key`).
    """
    spread = float(np.hypot(raters.rater_sd, raters.problem_sd))
    alone = {c: _centre(a, spread) for c, a in raters.accuracy.items()}
    helped = {c: _centre(float(np.clip(a + raters.gain, 1e-6, 1 - 1e-6)), spread) for c, a in raters.accuracy.items()}
    problem_code, problems = pd.factorize(key.problem_id)
    problem_effect = rng.normal(0, raters.problem_sd, len(problems))
    mu = np.array([[m.get(c, 0.0) for c in key.condition] for m in (alone, helped)])  # (not or assisted, items)
    base = mu + problem_effect[problem_code]
    place = {item: i for i, item in enumerate(key.index)}
    is_check = (key.kind == ATTENTION).to_numpy()
    correct = key.correct.to_numpy(dtype=bool)
    careless = rng.permutation(count) < round(raters.careless * count)
    frames = []
    for slot in range(count):
        rows = np.array([place[i] for i in study.slots[slot]])
        assisted = np.array([i in study.assisted[slot] for i in study.slots[slot]])
        ease = base[assisted.astype(int), rows]
        reading = np.where(is_check[rows], CHECK_ACCURACY, expit(ease + rng.normal(0, raters.rater_sd)))
        p = np.full(len(rows), 0.5) if careless[slot] else (1 - raters.lapse) * reading + raters.lapse / 2
        right = rng.random(len(rows)) < p
        pace = 1.0 if careless[slot] and slot % 2 else raters.median_seconds
        seconds = np.minimum(pace * rng.lognormal(0, 0.5, len(rows)), study.protocol.time_limit_seconds)
        frames.append(
            pd.DataFrame(
                {
                    "item_id": study.slots[slot],
                    "rater": f"{SIMULATION}:slot-{slot + 1}",
                    "verdict": correct[rows] == right,
                    "seconds": seconds,
                    "careless": careless[slot],
                    "assisted": assisted,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def _centre(accuracy: float, spread: float) -> float:
    """mu with E[logistic(mu + spread * normal)] = accuracy."""
    return float(brentq(lambda mu: _WEIGHTS @ expit(mu + spread * _NODES) - accuracy, -30, 30))
