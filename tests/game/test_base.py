"""The base policy's text: which problems it writes for, under which name, and what is recorded of it."""

from __future__ import annotations

import pandas as pd
import pytest

from legibility.config_file import load_config
from legibility.game.base import base_metrics, base_solutions, sample_base
from legibility.game.context import Game
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.problems import load_problems
from tests.support import quiet


@pytest.fixture(scope="module")
def game(tiny_run):
    return reopen(tiny_run)


def test_base_text_is_drawn_of_every_part_but_the_provers(game):
    rows = base_solutions(game)
    sizes = rows.groupby(["split", "role"]).size().to_dict()
    assert sizes == {
        ("verifier", "base"): 30 * 4,  # the larger of what a mixture and a collection take
        ("validation", "base"): 16 * 2,
        ("validation", "sneaky"): 16 * 2,
        ("test", "base"): 20 * 2,
        ("test", "sneaky"): 20 * 2,
        ("judge", "base"): 30 * 4,
    }
    assert set(rows.arm) == {"init"} and set(rows["round"]) == {-1} and set(rows.phase) == {"base"}
    assert rows.score.isna().all() and rows.reward.isna().all()


def test_accuracy_is_that_of_the_stored_text(game, tiny_run):
    rows, metrics = base_solutions(game), base_metrics(tiny_run)
    for (split, role), part in rows.groupby(["split", "role"]):
        name = f"{split}_{'helpful' if role == 'base' else role}"
        assert getattr(metrics, name) == pytest.approx((part.verdict == "correct").mean())


@pytest.fixture
def play_base(tmp_path, tiny_config_file, tiny_overrides):
    """Draws base text with further settings and returns it."""

    def play(*overrides):
        config = load_config(tiny_config_file, [*tiny_overrides, *overrides])
        run = RunFolder.open(tmp_path / "run", config, resume=False)
        game = Game(config, run, load_problems(config.problems), "cpu", quiet(), force=True)
        sample_base(game)
        return base_solutions(game)

    return play


def test_problems_without_a_right_or_a_wrong_text_are_drawn_again(play_base, tiny_run):
    """Further draws are recorded by their number, leave the first as it was, and are only for problems that lack a label."""
    texts = play_base("game.base_draws=3")
    mine = texts[texts.split == "verifier"]
    first, before = mine[mine.step == 0], base_solutions(reopen(tiny_run))
    pd.testing.assert_frame_equal(first, before[before.split == "verifier"])
    assert mine.step.max() == 2
    for draw in (1, 2):
        so_far = mine[mine.step < draw]
        both = so_far[so_far.verdict != "invalid"].groupby("problem_id").verdict.nunique() == 2
        lacking = set(mine.problem_id) - set(both[both].index)
        assert set(mine[mine.step == draw].problem_id) == lacking
        assert (mine[mine.step == draw].groupby("problem_id").size() == 4).all()


def test_nothing_is_drawn_again_once_distinct_texts_suffice(play_base):
    texts = play_base("game.base_draws=50", "verifier.solutions_per_problem=2", "game.base_samples=2")
    mine = texts[(texts.split == "verifier") & (texts.verdict != "invalid")]
    distinct = mine.drop_duplicates(["problem_id", "text"])

    def least(frame):
        return frame.verdict.value_counts().reindex(["correct", "incorrect"], fill_value=0).min()

    wanted = 30  # pairs: 2 texts for each of 30 problems
    assert least(distinct[distinct.step < distinct.step.max()]) < wanted
    assert least(distinct) >= wanted or distinct.step.max() == 49


def test_the_judges_problems_are_drawn_as_often_as_the_verifiers(play_base, tiny_run):
    """Further draws too, so that its training text is no poorer."""
    texts = play_base("game.base_draws=3", "game.base_samples=3")
    first = texts[texts.step == 0]
    assert first[(first.role == "base") & first.split.isin(["verifier", "judge"])].groupby(
        "split"
    ).size().to_dict() == {"judge": 90, "verifier": 90}
    assert "judge" in set(texts[texts.step > 0].split)
    assert set(texts[texts.split == "judge"].role) == {"base"}
