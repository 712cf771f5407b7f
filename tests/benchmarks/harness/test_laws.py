"""Scaling laws are recovered from points that follow one."""

from __future__ import annotations

import pytest
from harness import laws

from tests.benchmarks.measured import points


def test_law_recovers_exponents():
    law = laws.fit(points(), "seconds")
    assert law["coefficient"] == pytest.approx(0.7)
    assert law["parameters"]["value"] == pytest.approx(0.8) and law["tokens"]["value"] == pytest.approx(1.1)
    assert law["parameters"]["low"] <= law["parameters"]["value"] <= law["parameters"]["high"]
    assert law["r2"] == pytest.approx(1) and law["largest_error"] < 1e-9
    assert laws.predict(law, 2e6, 5e3) == pytest.approx(points()[2]["seconds"])
    with pytest.raises(ValueError, match="at least 4"):
        laws.fit(points()[:3], "seconds")
    assert laws.can_fit(points()) and not laws.can_fit(points()[:3])
    assert not laws.can_fit([{**p, "parameters": 1e6} for p in points()])  # one size tells nothing about size
