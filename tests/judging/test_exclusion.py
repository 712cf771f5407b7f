"""Who is left out, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from legibility.judging.exclusion import excluded_raters, exclusion_rate
from legibility.judging.protocol import Exclusion
from tests.judging.world import HELPFUL, judged


def test_exclusion_rules_by_hand():
    def rater(name, right, count, seconds, failed=0):
        study = [(name, f"p{i}", HELPFUL, True, i < right, seconds, 9) for i in range(count)]
        checks = [(name, f"c{i}", HELPFUL, True, i >= failed, seconds, 9) for i in range(3)]
        return pd.concat([judged(study), judged(checks).assign(kind="attention")])

    frame = pd.concat(
        [
            rater("good", 25, 30, 9),
            rater("guess", 19, 30, 9),
            rater("edge", 20, 30, 9),
            rater("few", 5, 10, 9),
            rater("fast", 30, 30, 1.5),
            rater("asleep", 30, 30, 9, failed=2),
            rater("once", 30, 30, 9, failed=1),
        ]
    )
    found = {r.rater: r for r in excluded_raters(frame, Exclusion(chance_min_judgments=20))}
    assert found["guess"].p == pytest.approx(binom.sf(18, 30, 0.5)) and found["guess"].p > 0.05 > found["edge"].p
    out = {name: r.excluded for name, r in found.items()}
    assert "chance" in out["guess"] and "too fast" in out["fast"] and "2 of 3 attention" in out["asleep"]
    assert [name for name in found if not out[name]] == ["edge", "few", "good", "once"]
    none = Exclusion(chance_alpha=None, max_failed_checks=None, min_median_seconds=None)
    assert {r.excluded for r in excluded_raters(frame, none)} == {""}


@pytest.mark.parametrize(
    ("judgments", "accuracy", "rate"), [(20, 0.7, 0.584), (30, 0.7, 0.270), (60, 0.7, 0.063), (60, 0.65, 0.247)]
)
def test_how_often_honest_raters_fail_the_chance_test(judgments, accuracy, rate):
    """Exact, and by simulation of the rule itself."""
    assert exclusion_rate(accuracy, judgments, 0.05) == pytest.approx(rate, abs=5e-4)
    rng, repeats = np.random.default_rng(0), 300
    rows = [
        (f"r{k:03d}", f"p{i}", HELPFUL, True, right, 9, 9)
        for k in range(repeats)
        for i, right in enumerate(rng.random(judgments) < accuracy)
    ]
    out = [bool(r.excluded) for r in excluded_raters(judged(rows), Exclusion(chance_min_judgments=1))]
    assert np.mean(out) == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / repeats))


def test_guessers_pass_the_chance_test_as_often_as_its_level():
    passing = 1 - exclusion_rate(0.5, 60, 0.05)
    assert passing == pytest.approx(binom.sf(36, 60, 0.5)) and 0.03 < passing < 0.05
    assert exclusion_rate(1.0, 60, 0.05) == 0.0


def test_by_default_nobody_is_tested_on_fewer_than_sixty_judgments():
    def guesser(count: int) -> pd.DataFrame:
        return judged([("r", f"p{i}", HELPFUL, True, i % 2 == 0, 9, 9) for i in range(count)])

    assert [bool(excluded_raters(guesser(n), Exclusion())[0].excluded) for n in (59, 60)] == [False, True]
