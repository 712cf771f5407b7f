"""What phases share: drawing, grading and scoring, keyed by what the text is for."""

from __future__ import annotations

import pytest

from legibility.config import Config
from legibility.game.context import Game
from legibility.game.reopen import reopen
from legibility.game.run_folder import RunFolder
from legibility.problems import ProblemSplits
from legibility.prompts import ROLES
from tests.support import quiet


@pytest.fixture(scope="module")
def game(tiny_run):
    return reopen(tiny_run)


def drawn(game, roles=ROLES, problems=3, samples=2, **changes):
    purpose = {"arm": "game", "round_index": 0, "phase": "ask", "split": "test", "step": 0, **changes}
    return game.draw(game.new_prover("test"), game.splits.test[:problems], roles, samples, **purpose)


def test_rows_stand_by_role_then_problem_then_sample(game):
    result = drawn(game)
    ids = [p.id for p in game.splits.test[:3]]
    assert [(r.role, r.problem_id, r.sample) for r in result.rows] == [
        (role, problem, k) for role in ROLES for problem in ids for k in (0, 1)
    ]
    assert len(result.prompts) == len(result.completions) == 6
    for row, completion in zip(result.rows, (c for group in result.completions for c in group), strict=True):
        assert row.completion_tokens == len(completion.ids) and row.truncated == completion.truncated
        assert row.score is None and row.reward is None


def test_a_draw_is_keyed_by_its_purpose(game):
    def texts(**changes):
        return [row.text for row in drawn(game, problems=8, **changes).rows]

    assert texts() == texts()
    for change in ({"step": 1}, {"arm": "other"}, {"round_index": 1}, {"phase": "pool"}):
        assert texts(**change) != texts()


def test_a_label_stands_for_the_role(game):
    assert {row.role for row in drawn(game, ("helpful",), label="base").rows} == {"base"}


def test_verdicts_follow_the_grading_settings(game):
    prover = game.new_prover("test")
    problem = game.splits.test[0]
    completion = drawn(game).completions[0][0]
    completion.truncated = True
    assert game.verdict(problem, prover, completion)[1].value == "invalid"
    game = reopen(game.run, config=Config(**{**game.config.model_dump(), "grading": {"unparsed": "incorrect"}}))
    assert game.verdict(problem, prover, completion)[1].value == "incorrect"


def test_only_reported_text_is_drawn_at_the_evaluations_temperature(tmp_path):
    config = Config(sampling={"evaluation_temperature": 0.5})
    game = Game(config, RunFolder(tmp_path), ProblemSplits([], [], [], []), "cpu", quiet())
    assert [game.temperature(split) for split in ("prover", "verifier", "validation", "test")] == [1, 1, 0.5, 0.5]
