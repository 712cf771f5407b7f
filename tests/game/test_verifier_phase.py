"""The verifier phase: which of a game's texts are its training data."""

from __future__ import annotations

from collections import Counter


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
