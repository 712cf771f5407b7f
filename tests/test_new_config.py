"""`legibility new`: a file that explains itself and plays the game it was made from."""

from __future__ import annotations

import pytest
import yaml

from legibility.config_file import load_config
from legibility.new_config import commented, new_config, shipped_settings
from legibility.shipped_configs import SHIPPED, shipped
from tests.support import legibility


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("every", [False, True], ids=["what is set", "every setting"])
@pytest.mark.parametrize("known", SHIPPED, ids=[c.name for c in SHIPPED])
def test_the_file_is_the_same_game(known, every, here):
    file, made_from = new_config("my-game", known.name, every=every)
    assert (file.name, made_from) == ("my-game.yaml", known)
    settings = shipped_settings(known)
    assert load_config(here / "my-game.yaml", (), type(settings)) == settings


def test_a_setting_stands_under_what_it_does():
    lines = commented(load_config("nano")).splitlines()
    at = lines.index("  kl_coefficient: 0.03")
    assert lines[at - 1] == "  # Weight of the KL penalty to the round's starting policy, all arms."
    assert lines[lines.index("ppo:") - 1].startswith("# Proximal policy optimisation")
    assert max(map(len, lines)) <= 120


def test_all_writes_every_setting(here):
    def names(data: object) -> set[str]:
        return set() if not isinstance(data, dict) else set(data) | {n for v in data.values() for n in names(v)}

    new_config("all", "nano", every=True)
    settings = load_config("nano").model_dump(mode="json")
    assert names(yaml.safe_load((here / "all.yaml").read_text())) == names(settings)


def test_nothing_is_overwritten_and_a_name_is_a_name(here):
    (here / "mine.yaml").write_text("seed: 7\n")
    for name, base, part in (
        ("mine", "nano", "mine.yaml: exists already"),
        ("../mine", "nano", "not a path"),
        ("-h", "nano", "letters, digits"),
        ("nano", "nano", "shipped config has that name"),
        ("other", "nowhere", "not a shipped config; choose one of nano, "),
    ):
        result = legibility("new", "--from", base, "--", name)
        assert result.code == 2 and part in result.err and result.err.count("\n") == 1, result
    assert [p.name for p in here.iterdir()] == ["mine.yaml"] and (here / "mine.yaml").read_text() == "seed: 7\n"


def test_the_command_says_what_it_wrote_and_how_to_play_it(here):
    result = legibility("new", "my-game")
    assert (result.code, result.err) == (0, "")
    assert result.out == "my-game.yaml: nano as it is; change it, then: legibility train my-game.yaml\n"
    assert shipped("my-game") is None and (here / "my-game.yaml").is_file()
