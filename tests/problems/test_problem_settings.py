"""The `problems:` section: its defaults, and what it refuses."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from legibility.problems import ProblemSettings, load_problems
from legibility.problems.sources import FileSource, GeneratedSource
from legibility.settings import parse_settings


def test_by_default_problems_are_generated_and_test_problems_set_aside():
    settings = ProblemSettings()
    assert settings.train == GeneratedSource() and settings.test is None
    assert (settings.prover, settings.verifier, settings.validation, settings.test_size) == (4000, 2000, 300, 500)


def test_null_sizes_share_what_is_there():
    settings = ProblemSettings(
        train=GeneratedSource(count=60), prover=None, verifier=None, validation=None, test_size=None
    )
    splits = load_problems(settings)
    assert len(splits.test) == len(splits.validation) == 6
    assert len(splits.prover) == len(splits.verifier)


def test_a_source_is_chosen_by_its_kind():
    settings = parse_settings({"train": {"kind": "file", "path": "p.csv"}}, "f", ProblemSettings)
    assert settings.train == FileSource(path="p.csv")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"prover": 0}, ["prover"]),
        ({"near_duplicate_threshold": 0}, ["near_duplicate_threshold"]),
        ({"near_duplicate_threshold": 1.1}, ["near_duplicate_threshold"]),
        ({"seed": -1}, ["seed"]),
        ({"proover": 3}, ["proover", "'prover'"]),
        ({"train": {"kind": "file"}}, ["train.file.path"]),
    ],
)
def test_a_bad_setting_is_named(settings, parts):
    with pytest.raises(UserError) as error:
        parse_settings(settings, "f", ProblemSettings)
    assert all(part in str(error.value) for part in parts)
