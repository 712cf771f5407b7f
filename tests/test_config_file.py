"""From a YAML file and overrides to settings: what an override may change, and how."""

from __future__ import annotations

import pytest

from legibility.config import Config
from legibility.config_file import load_config, override_config
from legibility.errors import UserError
from legibility.player_settings import LoraSettings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "game.yaml"
    path.write_text("seed: 7\nppo: {steps: 5}\n", encoding="utf-8")
    return path


def test_overrides_change_the_file_and_later_ones_win(file):
    config = load_config(file, ["ppo.steps=6", "stop.rule=fixed", "ppo.steps=8", "prover.lora.r=4"])
    assert (config.seed, config.ppo.steps, config.stop.rule) == (7, 8, "fixed")
    assert config.prover.lora == LoraSettings(r=4)  # a section that is null by default is turned on


def test_an_override_leaves_the_configuration_it_starts_from_alone(file):
    config = load_config(file)
    changed = override_config(config, ["attack.seeds=5"], ["attack", "compute"])
    assert changed.attack.seeds == 5 and config.attack.seeds == Config().attack.seeds != 5
    assert changed.ppo == config.ppo


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ppo.steps=3", "override 'ppo.steps=3': only settings of attack, compute.threads can be changed here"),
        ("compute.workers=3", "only settings of attack, compute.threads can be changed here"),
        ("attacker=3", "only settings of attack, compute.threads can be changed here"),
        ("attack.workers=3", "settings: attack.workers: this setting has a new name; write attack.parallel instead"),
        ("attack.seeds=0", "settings: attack.seeds: Input should be greater than or equal to 1 (got 0)"),
        ("attack", "write section.key=value, for example ppo.steps=3"),
    ],
)
def test_only_allowed_settings_can_be_overridden(file, override, message):
    with pytest.raises(UserError) as error:
        override_config(load_config(file), [override], ["attack", "compute.threads"])
    assert message in str(error.value)
