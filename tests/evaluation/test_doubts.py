"""The doubts of a round's verifier about the report's examples (a whole game with them: tests/test_ask.py)."""

from __future__ import annotations

import json

import pytest

from legibility.errors import UserError
from legibility.evaluation.doubts import DOUBTS, Doubt, DoubtsFile, read_doubts, write_doubts
from legibility.game.run_folder import RunFolder
from legibility.models.verifier import Explanation, TokenShare
from legibility.stored import write_stored


def test_an_explanation_as_a_record():
    told = Explanation(-1.0, 0.5, [TokenShare("3", 0, 1, -0.5), TokenShare("", 1, 1, -1.0)])
    doubt = Doubt.of(told, round_index=1, role="sneaky", problem_id="p", text="3")
    assert (doubt.score, doubt.rest, [(t.start, t.end, t.share) for t in doubt.tokens]) == (
        -1.0,
        0.5,
        [(0, 1, -0.5), (1, 1, -1.0)],
    )


def test_a_run_whose_verifiers_read_the_last_token_has_none(tiny_run):
    write_doubts(tiny_run)
    assert not (tiny_run.path / "evaluation" / DOUBTS).exists() and read_doubts(tiny_run) == {}


def test_they_are_found_by_round_problem_and_text(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / "evaluation").mkdir()
    told = Explanation(-1.0, 0.5, [TokenShare("3", 0, 1, -1.5)])
    doubts = [Doubt.of(told, round_index=i, role="sneaky", problem_id="p", text=f"3{i}") for i in (0, 1)]
    write_stored(tmp_path / "evaluation" / DOUBTS, DoubtsFile(doubts=doubts))
    assert read_doubts(run) == {0: {("p", "30"): doubts[0]}, 1: {("p", "31"): doubts[1]}}
    file = tmp_path / "evaluation" / DOUBTS
    file.write_text(json.dumps({"schema": 1, "doubts": 3}))
    with pytest.raises(UserError, match=r"doubts\.json: doubts: .*; legibility evaluate .* --quick writes it again"):
        read_doubts(run)
