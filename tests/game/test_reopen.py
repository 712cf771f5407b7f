"""A finished run opened again: the same settings, problems and models."""

from __future__ import annotations

import numpy as np
import torch

from legibility.game.reopen import reopen
from legibility.game.solutions import round_solutions
from legibility.problems import ProblemSplits
from legibility.problems.records import Problem
from legibility.problems.storage import read_problems
from legibility.prompts import ROLES


def test_settings_and_problems_are_the_runs_own(tiny_run):
    game = reopen(tiny_run)
    assert game.config == tiny_run.config()
    assert game.problems == read_problems(tiny_run.path / "problems.jsonl")
    assert [len(game.splits.part(part)) for part in ("prover", "verifier", "validation", "test")] == [40, 30, 16, 20]
    assert game.base_source is None and game.device == "cpu"  # this game had no warm start


def test_other_problems_and_settings_can_be_given(tiny_run):
    asked = Problem("q", "Tom has 1 pens. Ann has 2.", "3")
    config = tiny_run.config().model_copy(update={"seed": 99})
    game = reopen(tiny_run, splits=ProblemSplits([], [], [], [asked]), config=config)
    assert game.problems == {"q": asked} and game.config.seed == 99 and tiny_run.config().seed == 0


def test_a_saved_prover_draws_the_stored_text_again_and_its_verifier_the_stored_scores(tiny_run):
    """The draw is keyed by what it is for, so reopening repeats it to the letter."""
    game = reopen(tiny_run)
    stored = round_solutions(tiny_run, 1)
    stored = stored[(stored.phase == "collection") & (stored.split == "test")]
    prover, verifier = game.saved_prover(tiny_run.path / "rounds/01/prover"), game.saved_verifier(1)
    for role in ROLES:
        rows = game.draw(
            prover,
            game.splits.test,
            (role,),
            game.config.evaluation.samples,
            arm="game",
            round_index=1,
            phase="collection",
            split="test",
            step=0,
            temperature=game.temperature("test"),
        ).rows
        game.score(verifier, rows)
        mine = stored[stored.role == role]
        assert [(r.problem_id, r.sample, r.text, r.verdict) for r in rows] == list(
            zip(mine.problem_id, mine["sample"], mine.text, mine.verdict, strict=True)
        )
        np.testing.assert_allclose([r.score for r in rows], mine.score, atol=1e-5)
    assert torch.get_num_threads() == 1
