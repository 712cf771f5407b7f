"""What two ranks learn beside one process: the rule on games worked out by hand, and two tiny games."""

from __future__ import annotations

import json
import shutil

import pytest
import rank_learning

from legibility.errors import UserError
from legibility.game.run_folder import RunFolder

PAGE = "# GPUs\n\n<!-- rank_learning -->\nold\n<!-- /rank_learning -->\n\nmore\n"


def game(seed: int, value: float, apart: float, same: list[float]) -> dict:
    one = dict.fromkeys(rank_learning.METRICS, value)
    return {
        "seed": seed, "one process": one, "two ranks": {name: v + apart for name, v in one.items()}, "two threads": one,
        "same_text": {"two ranks": same, "two threads": [1.0] * len(same)},
    }  # fmt: skip


@pytest.mark.parametrize(("apart", "within"), [(0.0999, True), (-0.0999, True), (0.101, False), (-0.101, False)])
def test_no_seed_differs_by_more_than_the_spread_over_seeds(apart, within):
    # 0.4, 0.5, 0.6 have a standard deviation of 0.1; one seed alone can break the rule
    games = [game(0, 0.4, 0.0, [1.0]), game(1, 0.5, apart, [1.0]), game(2, 0.6, 0.0, [1.0])]
    found = rank_learning.verdicts(games)
    assert found.spread.to_list() == pytest.approx([0.1] * 5) and found.value.to_list() == pytest.approx([0.5] * 5)
    assert found.every_seed.to_list() == [within] * 5 and found.largest.to_list() == pytest.approx([abs(apart)] * 5)
    assert rank_learning.verdicts(games, "two threads").every_seed.all()


@pytest.mark.parametrize(("apart", "within"), [([0.1, 0.2, 0.3, 0.0], False), ([0.1, -0.1, 0.2, 0.0], True)])
def test_on_average_they_differ_by_no_more_than_two_errors(apart, within):
    # means 0.15 and 0.05; standard deviations 0.1291, 0.1291; errors of the mean 0.0645: 2.3 and 0.8 of them
    found = rank_learning.verdicts([game(k, 0.5, x, [1.0]) for k, x in enumerate(apart)])
    assert found["mean"].to_list() == pytest.approx([sum(apart) / 4] * 5)
    assert found.error.to_list() == pytest.approx([0.06455] * 5, abs=1e-4)
    assert found.on_average.to_list() == [within] * 5


def test_texts_are_compared_by_step_and_then_left_out():
    one, two = (
        {"kl": 1.0, "texts": {2: ["c", "d"], 1: ["a", "b"]}},
        {"kl": 2.0, "texts": {1: ["a", "b"], 2: ["c", "x"]}},
    )
    assert rank_learning.compared({"one process": one, "two ranks": two}) == {
        "one process": {"kl": 1.0}, "two ranks": {"kl": 2.0}, "same_text": {"two ranks": [1.0, 0.5]},
    }  # fmt: skip


def test_written_into_the_page(monkeypatch, tmp_path):
    monkeypatch.setattr(rank_learning, "PAGE", tmp_path / "gpus.md")
    rank_learning.PAGE.write_text(PAGE)
    games = [game(0, 0.4, 0.2, [1.0, 1.0, 0.5]), game(1, 0.5, 0.0, [1.0, 1.0, 1.0])]
    (tmp_path / "r.json").write_text(
        json.dumps({"machine": {"processor": "a processor"}, "commit": "abc", "games": games})
    )
    rank_learning.main(tmp_path / "r.json", write=True)
    page = rank_learning.PAGE.read_text()
    assert page.startswith("# GPUs") and page.endswith("more\n") and "old" not in page
    assert (
        "| helpful accuracy | 0.450 | 0.071 | +0.1000 ± 0.1000 | 0.2000 | +0.0000 ± 0.0000 | 0.0000 | yes | **no** |"
        in page
    )
    assert (
        "first step: all." in page and "seed: 2, 3 of 20 (two threads: 3, 3)" in page and "percent: 50, 100 (" in page
    )
    with pytest.raises(UserError, match="is not there"):
        rank_learning.main(tmp_path / "none.json", write=True)


def test_a_game_is_begun_and_finished_twice(tiny_config_file, tiny_overrides, monkeypatch, tmp_path):
    """A copy that is gone on with by one process is the game that was not stopped."""
    config = str(tiny_config_file)
    monkeypatch.setattr(rank_learning, "load_config", lambda _, s, load=rank_learning.load_config: load(config, s))
    settings = [
        *tiny_overrides,
        "game.rounds=1",
        "ppo.steps=2",
        "game.held_out_judge=false",
        "game.correctness_arm=false",
    ]
    rank_learning.begin(settings, tmp_path / "begun")
    assert RunFolder(tmp_path / "begun").finished_phases() == ["base", "rounds/00/verifier"]
    found = []
    for name in ("one", "other"):
        shutil.copytree(tmp_path / "begun", tmp_path / name)
        rank_learning.train(rank_learning.load_config("nano", settings), tmp_path / name, resume=True)
        found.append(rank_learning.read(RunFolder(tmp_path / name)))
    assert found[0] == found[1] and set(found[0]["texts"]) == {1, 2} and set(found[0]) >= set(rank_learning.METRICS)
