"""Settings: the shipped config, old names."""

from __future__ import annotations

import pytest

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.settings import parse_settings, with_new_names
from legibility.weak_to_strong.experiment_settings import Combination, ExperimentSettings
from tests.support import ROOT

PLAIN = {"models": {"a": {"model": "nano-xs"}, "b": {"model": "nano-s"}}, "grid": [{"weak": ["a"], "strong": ["b"]}]}


def test_the_shipped_config_has_a_grid():
    full = load_config(ROOT / "configs/weak-to-strong-nano.yaml", schema=ExperimentSettings)
    assert (
        len({w for w, *_ in full.combinations()}) >= 3
        and len({s for _, s, *_ in full.combinations()}) >= 3
        and len(full.seeds) == 3
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"workers": 2}, "write parallel instead"),
        ({"generation": {"max_new_tokens": 9}}, "write generation.sampling.max_new_tokens instead"),
        ({"generation": {"temperature": 0.5}}, "write generation.sampling.temperature instead"),
    ],
)
def test_an_old_name_is_an_error_that_tells_the_new_one(old, new):
    with pytest.raises(UserError, match=new):
        parse_settings({**PLAIN, **old}, "here", ExperimentSettings)


def test_a_stored_experiment_with_old_names_is_read_under_the_new_ones():
    stored = {**PLAIN, "workers": 2, "generation": {"max_new_tokens": 9, "temperature": 0.5, "steps": 3}}
    found = parse_settings(with_new_names(stored, ExperimentSettings), "here", ExperimentSettings)
    assert found.parallel == 2 and found.generation is not None and found.generation.steps == 3
    assert (found.generation.sampling.max_new_tokens, found.generation.sampling.temperature) == (9, 0.5)


def test_a_combination_of_two_blocks_counts_once():
    settings = parse_settings({**PLAIN, "grid": [*PLAIN["grid"], *PLAIN["grid"]]}, "here", ExperimentSettings)
    assert settings.combinations() == [Combination("a", "b", "xent", "single", "none")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"auto_aligner": {"generations": ["a", "z"]}}, "auto_aligner.generations: 'z' is not defined under models"),
        ({"teachers": {"single": {"kind": "bagging"}}}, 'the names "single" and "none" are taken'),
        (
            {"oversight": {"d": {"kind": "debate"}}, "task": {"kind": "preferences"}},
            "oversight needs task.kind solutions",
        ),
        (
            {
                "models": {"a": {"model": "nano-xs", "head": "surprisal"}, "b": {"model": "nano-s"}},
                "teachers": {"cut": {"kind": "bagging", "over": "layers", "learner": "probe"}},
                "grid": [{"weak": ["a"], "strong": ["b"], "teachers": ["cut"]}],
            },
            "teacher 'cut' probes layers",
        ),
        (
            {"models": {"a": {"model": "nano-xs"}, "b": {"model": "nano-s", "train": "probe"}}},
            "'b' has train: probe, so its only objective is probe",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        parse_settings({**PLAIN, **changes}, "here", ExperimentSettings)
