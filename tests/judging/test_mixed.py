"""The mixed model finds planted effects."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from legibility.game.condition import Condition
from legibility.judging.mixed import mixed_model
from tests.judging.world import HELPFUL, judged


def test_the_mixed_model_finds_strong_effects():
    rng = np.random.default_rng(0)
    rater, problem = rng.normal(0, 1.0, 30), rng.normal(0, 0.3, 40)
    rows = [
        (f"r{i}", f"p{j}", c, bool(j % 2), bool(rng.random() < expit(mu + rater[i] + problem[j])), 1.0, 50)
        for c, mu in ((Condition("init", -1, "base"), 0.0), (HELPFUL, 1.5))
        for i in range(30)
        for j in rng.permutation(40)[:20]
    ]
    found = mixed_model(judged(rows))
    effect = next(f for f in found.fixed if "init" in f.term)  # against game:0:helpful
    assert effect.log_odds == pytest.approx(-1.5, abs=0.4)
    assert found.random_sd["rater"] > 0.6 > found.random_sd["problem"]
    assert mixed_model(judged(rows[:20])) is None
