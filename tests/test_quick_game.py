"""A config played small: what is made smaller, that what is given by hand is played, and that the run says so."""

from __future__ import annotations

import json

import pytest

from legibility.config_file import load_config
from legibility.game.run_folder import RunFolder
from legibility.game.setting_changes import different_settings
from legibility.quick_game import MOST, quick_game
from legibility.shipped_configs import SHIPPED
from tests.support import legibility


@pytest.mark.parametrize("name", [c.name for c in SHIPPED if c.command == "train"])
def test_only_amounts_are_changed_and_each_is_named(name):
    whole, small = load_config(name), quick_game(name)
    changed = different_settings(whole.model_dump(mode="json"), small.settings.model_dump(mode="json"))
    assert {c.name for c in changed} <= set(MOST)
    assert sorted(small.made_smaller) == [f"{c.name}={c.after}" for c in changed]
    assert small.settings.game.rounds == 1


def test_what_is_given_by_hand_is_played(tmp_path):
    small = quick_game("nano", ["game.rounds=2", "ppo.steps=3", "problems.verifier=400"])
    assert (small.settings.game.rounds, small.settings.ppo.steps, small.settings.problems.verifier) == (2, 3, 400)
    assert not any(line.startswith(("game.rounds", "ppo.steps", "problems.verifier=")) for line in small.made_smaller)
    (tmp_path / "less.yaml").write_text("ppo: {steps: 4}\n")
    assert quick_game(tmp_path / "less.yaml").settings.ppo.steps == 4  # less stays less


def test_a_quick_run_is_marked_everywhere_and_goes_on(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    """The gate that this game would be stopped by only warns; the folder is another than the whole game's."""
    monkeypatch.chdir(tmp_path)
    smaller = [o for o in tiny_overrides if not o.startswith(("game.rounds", "gates", "evaluation.bootstrap"))]
    command = ("train", tiny_config_file, *smaller, "gates.min_helpful_accuracy=0.99", "ppo.steps=1", "--quick")
    result = legibility(*command)
    assert result.code == 0, result
    assert "quick: a small game to look at, its numbers measure nothing; it sets game.rounds=1" in result.out
    assert (
        "(forced open)" in result.out
        and "quick: a small game, its numbers measure nothing" in result.out.splitlines()[-1]
    )
    run = RunFolder(tmp_path / "runs/tiny-quick")
    assert run.manifest().quick == ["game.rounds=1", "evaluation.bootstrap=200"] and run.rounds() == [0]
    assert json.loads((run.path / "summary.json").read_text())["quick"] is True
    page = (run.path / "report.html").read_text()
    assert "A quick game, to be looked at" in page and "<code>game.rounds=1</code>" in page
    assert "nothing to do" in legibility(*command, "--resume").out
    assert "settings changed" in legibility(*command[:-1], "--out", run.path, "--resume").err


def test_a_whole_run_is_not_marked(tiny_run):
    assert tiny_run.manifest().quick is None and "quick" not in json.loads((tiny_run.path / "summary.json").read_text())
