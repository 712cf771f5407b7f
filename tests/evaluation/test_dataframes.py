"""A run as data frames."""

from __future__ import annotations

import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.evaluation import load_run
from tests.evaluation.helpers import section


def test_an_evaluated_run_gives_a_frame_per_section(evaluated):
    frames = load_run(evaluated.path)
    assert {
        "solutions",
        "steps",
        "rounds",
        "matrix",
        "best_of_n",
        "soundness",
        "tax",
        "subtlety",
        "separability",
        "hacking",
        "attacks",
    } <= set(frames)
    solutions = frames["solutions"]
    assert {"init", "game", "correctness"} <= set(solutions.arm) and {"base", "ppo", "collection", "pool"} <= set(
        solutions.phase
    )
    assert len(frames["steps"]) == 3 + 3 + 3 and list(frames["rounds"]["round"]) == [0, 1]
    matrix = frames["matrix"]
    cell = matrix[
        (matrix.metric == "pairwise") & (matrix.verifier == "held_out_judge") & (matrix.solution == "base")
    ].iloc[0]
    reported = section(evaluated, "matrix")["pairwise"]["held_out_judge"]["base"]
    assert cell.value == reported or (reported is None and pd.isna(cell.value))
    assert list(frames["tax"].arm) == ["start", "game 0", "game 1", "correctness"]


def test_a_run_not_evaluated_has_the_frames_of_its_game(tiny_run, tmp_path):
    assert set(load_run(tiny_run.path)) == {"solutions", "steps", "rounds"}
    with pytest.raises(UserError, match="no run folder"):
        load_run(tmp_path)
