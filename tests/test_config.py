"""The settings of a run: every one is described, and impossible combinations are refused."""

from __future__ import annotations

import math

import pytest
from pydantic import BaseModel, ValidationError

from legibility.config import Config
from legibility.errors import UserError
from legibility.settings import models_in, parse_settings, with_new_names


def leaves(schema: type[BaseModel], prefix: str = "") -> dict[str, str | None]:
    """Every setting by its dotted name, with its description."""
    found: dict[str, str | None] = {}
    for name, field in schema.model_fields.items():
        sections = models_in(field.annotation)
        for section in sections:
            found |= leaves(section, f"{prefix}{name}.")
        if not sections:
            found[prefix + name] = field.description
    return found


def test_every_setting_is_described_in_a_sentence():
    described = leaves(Config)
    assert len(described) > 100
    assert {name for name, text in described.items() if not text or not text.rstrip().endswith((".", ")"))} == set()


def test_every_new_name_is_a_setting_and_no_old_one_is():
    settings = leaves(Config)
    assert set(Config.renamed.values()) <= set(settings)
    assert set(Config.renamed).isdisjoint(settings)


@pytest.mark.parametrize("old", Config.renamed)
def test_a_stored_run_with_an_old_name_is_read_under_the_new_one(old):
    section, key = old.split(".")
    new_section, new_key = Config.renamed[old].split(".")
    value = Config().model_dump(mode="json")[new_section][new_key]
    stored = with_new_names({section: {key: value}}, Config)
    assert stored[new_section] == {new_key: value}
    assert parse_settings(stored, "config.yaml", Config) == Config()


def test_a_stored_run_without_a_limit_is_read():
    """Infinity was a value once; a new file has to say a number."""
    stored = {"ppo": {"max_grad_norm": math.inf}}
    assert parse_settings(with_new_names(stored, Config), "config.yaml", Config).ppo.max_grad_norm > 1e300
    with pytest.raises(UserError, match="max_grad_norm"):
        parse_settings(stored, "config.yaml", Config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ppo": {"samples_per_role": 1}, "reward": {"kind": "src"}}, "samples_per_role must be at least 2"),
        ({"ppo": {"samples_per_role": 1}, "reward": {"kind": "cgc", "center": True}}, "must be at least 2"),
        ({"ppo": {"samples_per_role": 3}}, "minibatch_size must be a multiple of samples_per_role"),
        ({"ppo": {"minibatch_size": 64, "micro_batch_size": 48}}, "must be a multiple of micro_batch_size"),
        ({"verifier": {"template": "{solution}"}}, "must contain {problem} and {solution}"),
        ({"attack": {"rewards": ["src", "src"]}}, "names a reward twice"),
    ],
)
def test_impossible_combinations_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message.replace("{", r"\{").replace("}", r"\}")):
        Config(**settings)


def test_uncentred_rewards_need_no_group():
    assert Config(ppo={"samples_per_role": 1}, reward={"kind": "cgc"}).ppo.samples_per_role == 1


def test_checkpoints_that_are_not_saved_cannot_be_learned_from():
    with pytest.raises(ValueError, match=r"ppo\.save_every"):
        Config(mixture={"checkpoints": "all"})
    assert Config(mixture={"checkpoints": "all"}, ppo={"save_every": 5}).mixture.checkpoints == "all"
