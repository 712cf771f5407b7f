"""An experiment made small: every part of it once, and what is given by hand as it was typed."""

from __future__ import annotations

import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.quick_experiment import quick_experiment

NAME = "weak-to-strong-nano"


def test_every_part_stays_and_stands_once():
    full, quick = load_config(NAME, schema=ExperimentSettings), quick_experiment(NAME)
    combinations = quick.combinations()
    assert (
        len(quick.seeds) == 1
        and {w for w, *_ in combinations} == {"xs-verifier"}
        and {s for _, s, *_ in combinations} == {"equal"}
    )
    for k, whole in ((2, {c[2] for c in full.combinations()}), (3, set(full.teachers)), (4, set(full.oversight))):
        assert whole <= {c[k] for c in combinations}


def test_what_is_given_by_hand_is_played():
    full, plain = load_config(NAME, schema=ExperimentSettings), quick_experiment(NAME)
    part = next(iter(full.parts.model_dump()))
    size = getattr(full.parts, part) + 1
    quick = quick_experiment(NAME, ["seeds=[4, 5]", f"parts.{part}={size}", "bootstrap=300", "training.epochs=1"])
    assert (quick.seeds, getattr(quick.parts, part), quick.bootstrap) == ([4, 5], size, 300)
    assert quick.models == plain.models and quick.grid == plain.grid  # the rest is small all the same
    others = [p for p in full.parts.model_dump() if p != part]
    assert all(getattr(quick.parts, p) == getattr(plain.parts, p) for p in others)


def test_a_grid_and_a_section_that_are_left_out_may_be_asked_for():
    full = load_config(NAME, schema=ExperimentSettings)
    weak, strong = list(full.models)[1], list(full.models)[-1]
    quick = quick_experiment(NAME, [f"grid=[{{weak: [{weak}], strong: [{strong}]}}]"])
    assert {(c[0], c[1]) for c in quick.combinations()} == {(weak, strong)} and len(quick.seeds) == 1
    assert full.generation is not None and quick_experiment(NAME).generation is None
    assert quick_experiment(NAME, ["generation.steps=3"]).generation.steps == 3


def test_a_wrong_setting_is_one_line():
    with pytest.raises(UserError, match="seedz"):
        quick_experiment(NAME, ["seedz=[1]"])
