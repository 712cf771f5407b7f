"""The verifier phase: which of a game's texts are its training data."""

from __future__ import annotations

from collections import Counter

from legibility.evaluation.summary_schema import read_summary
from tests.support import metrics, play_with, training


def test_labels_of_a_game_are_verdicts_and_invalid_text_is_left_out(tiny_run):
    from legibility.game.context import Game
    from legibility.game.solutions import round_solutions
    from legibility.game.verifier_phase import _labelled
    from legibility.problems.storage import read_problems

    frame = round_solutions(tiny_run, 0)
    game = Game.__new__(Game)
    game.problems = read_problems(tiny_run.path / "problems.jsonl")
    labelled = _labelled(game, frame, "round 0")
    valid = frame[(frame.split == "verifier") & (frame.verdict != "invalid")]
    assert len(labelled) == len(valid) < (frame.split == "verifier").sum()
    by_role = Counter((x.role, x.correct) for x in labelled)
    assert len(by_role) == 4  # failed-role text is kept in both roles
    for got, row in zip(labelled, valid.itertuples(), strict=True):
        assert (got.problem.id, got.text, got.role) == (row.problem_id, row.text, row.role)
        assert got.correct == (row.verdict == "correct")


def test_the_judge_learns_from_problems_that_no_verifier_learns_from(tiny_run):
    """And from base text alone. Its own settings are used."""
    from legibility.game.base import base_solutions
    from legibility.game.reopen import reopen
    from legibility.game.verifier_phase import _labelled

    game = reopen(tiny_run)
    assert len(game.splits.judge) == 30
    mine = _labelled(game, base_solutions(game), "base", "judge")
    theirs = _labelled(game, base_solutions(game), "base")
    assert mine and {x.problem.id for x in mine} <= {p.id for p in game.splits.judge}
    assert not {x.problem.id for x in mine} & {x.problem.id for x in theirs}
    assert {c["component"] for c in training(tiny_run, "judge")["cells"]} == {"base"}


def test_a_judge_with_a_score_and_updates_of_its_own(tiny_config_file, tiny_overrides, tmp_path):
    run = play_with(
        tiny_config_file,
        tiny_overrides,
        tmp_path / "run",
        "game={rounds: 1, correctness_arm: false, held_out_judge_score: likelihood, held_out_judge_updates: 3}",
        "ppo.steps=1",
        "problems.judge=0",
    )
    assert [line["step"] for line in metrics(run, "judge")][-1] == 3
    assert metrics(run, "rounds/00/verifier")[-1]["step"] == 12
    judge = read_summary(run.path / "summary.json").held_out_judge
    assert (judge.score, judge.updates, judge.own_problems) == ("likelihood", 3, 0)
    assert any("learnt from the verifiers' problems" in remark for remark in judge.remarks)


def test_what_cannot_be_measured_has_one_word():
    from legibility.game.verifier_phase import _shown

    assert (_shown(None), _shown(0.0)) == ("unknown", "0.000")
