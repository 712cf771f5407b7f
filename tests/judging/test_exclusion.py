"""Who is left out, by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy.stats import binom

from legibility.judging.exclusion import excluded_raters
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
    found = {r.rater: r for r in excluded_raters(frame, Exclusion())}
    assert found["guess"].p == pytest.approx(binom.sf(18, 30, 0.5)) and found["guess"].p > 0.05 > found["edge"].p
    out = {name: r.excluded for name, r in found.items()}
    assert "chance" in out["guess"] and "too fast" in out["fast"] and "2 of 3 attention" in out["asleep"]
    assert [name for name in found if not out[name]] == ["edge", "few", "good", "once"]
    none = Exclusion(chance_alpha=None, max_failed_checks=None, min_median_seconds=None)
    assert {r.excluded for r in excluded_raters(frame, none)} == {""}
