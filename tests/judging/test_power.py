"""The power analysis against its closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from legibility.judging.power import power_of
from legibility.judging.protocol import Planned


def test_power_against_the_closed_form():
    plan = Planned(baseline=0.7, difference=0.1, icc_rater=0.05, icc_problem=0.1)
    h = 2 * np.arcsin(np.sqrt(0.8)) - 2 * np.arcsin(np.sqrt(0.7))
    single = 2 * ((norm.ppf(0.975) + norm.ppf(0.8)) / h) ** 2
    found = power_of(plan, judgments=200, raters=20, problems=50)
    assert found.design_effect == pytest.approx(1 + 9 * 0.05 + 3 * 0.1)
    assert found.needed == int(np.ceil(single * found.design_effect))
    alone = power_of(
        plan.model_copy(update={"icc_rater": 0, "icc_problem": 0}), judgments=single, raters=20, problems=50
    )
    assert alone.achieved == pytest.approx(0.8, abs=0.005)
