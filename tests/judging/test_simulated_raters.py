"""Made-up raters have the accuracy asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.judging.joined_table import joined_table
from legibility.judging.simulated_raters import draw, parse_accuracy
from tests.judging.world import HELPFUL, RULES, SNEAKY, model_of


def test_simulated_raters_have_the_accuracy_asked_for(planned):
    model, key = model_of(planned, careless=0), planned.key()
    drawn = pd.concat([draw(planned, key, model, 40, np.random.default_rng(k)) for k in range(20)])
    frame = joined_table(
        drawn.assign(rater=drawn.rater + drawn.groupby(["rater", "item_id"]).cumcount().astype(str)), key, RULES
    )
    for condition, rows in frame[frame.kind == "study"].groupby("condition"):
        assert rows.right.mean() == pytest.approx(model.truth(condition), abs=0.03)
    assert frame[frame.kind == "attention"].right.mean() > 0.95


def test_accuracy_options():
    a, b = HELPFUL, SNEAKY
    assert parse_accuracy("0.7", [a, b]) == {a: 0.7, b: 0.7}
    assert parse_accuracy("game:0:sneaky=0.5,0.9", [a, b]) == {a: 0.9, b: 0.5}
