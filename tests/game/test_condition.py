"""Conditions and judges: one spelling, one parser, one order."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from legibility.config import Config, GameSettings, VerifierSettings
from legibility.errors import UserError
from legibility.game.condition import (
    CORRECTNESS_ONLY,
    HALFWAY,
    HELD_OUT_JUDGE,
    LENGTH_PENALISED,
    REFERENCE,
    START,
    START_SNEAKY,
    Condition,
    Judge,
    conditions_of,
    helpful,
    judges_of,
    sneaky,
    verifier,
)
from legibility.game.run_folder import RunFolder

ORDERED = [
    START,
    START_SNEAKY,
    helpful(0),
    sneaky(0),
    helpful(2),
    sneaky(2),
    helpful(10),
    CORRECTNESS_ONLY,
    HALFWAY,
    LENGTH_PENALISED,
    Condition("attack-cgc-0", 1, "sneaky"),
    Condition(REFERENCE, 0, REFERENCE),
]


def test_conditions_sort_start_then_rounds_helpful_first_then_correctness_then_others():
    shuffled = ORDERED.copy()
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled) == ORDERED
    assert helpful(0) < sneaky(0) <= sneaky(0) < helpful(1) and sneaky(9) < CORRECTNESS_ONLY


@pytest.mark.parametrize("condition", ORDERED)
def test_a_condition_is_read_back_from_its_text(condition):
    assert Condition.parse(f" {condition} ") == condition


@pytest.mark.parametrize("text", ["", "game", "game:helpful", "game:one:helpful", "game:1:helpful:x"])
def test_text_that_names_no_condition_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="game:0:helpful"):
        Condition.parse(text)


def test_labels_of_conditions_are_for_people():
    assert [c.label for c in ORDERED[:4]] == ["start", "start sneaky", "round 0 helpful", "round 0 sneaky"]
    assert CORRECTNESS_ONLY.label == "correctness-only"
    assert LENGTH_PENALISED.label == "correctness-only, length-penalised"
    assert Condition(REFERENCE, 0, REFERENCE).label == "reference and twin"


def test_conditions_of_a_frame_are_distinct_sorted_and_plain_numbers():
    rows = [("game", 1, "sneaky"), ("game", 1, "helpful"), ("init", -1, "base"), ("game", 1, "sneaky")]
    frame = pd.DataFrame(rows, columns=["arm", "round", "role"]).astype({"round": np.int32})
    found = conditions_of(frame)
    assert found == [START, helpful(1), sneaky(1)] and all(type(c.round) is int for c in found)


def test_judges_sort_verifiers_by_round_and_the_held_out_judge_last():
    ordered = [verifier(0), verifier(2), verifier(10), HELD_OUT_JUDGE]
    assert sorted(reversed(ordered)) == ordered and len({*ordered, Judge("verifier", 2)}) == 4


def test_a_judge_has_one_name_in_files_and_one_for_people():
    assert (str(verifier(3)), verifier(3).label, verifier(3).phase) == (
        "verifier 3",
        "verifier 3",
        "rounds/03/verifier",
    )
    judge = HELD_OUT_JUDGE
    assert (str(judge), judge.label, judge.phase) == ("held_out_judge", "held-out judge", "judge")


@pytest.mark.parametrize("text", ["held_out_judge", "held-out judge", "judge"])
def test_older_names_of_the_held_out_judge_are_understood(text):
    assert Judge.parse(text) == HELD_OUT_JUDGE


def test_a_verifier_is_read_back_from_its_text():
    assert Judge.parse("verifier 12") == verifier(12)


@pytest.mark.parametrize("text", ["", "verifier", "verifier x", "verifier -1", "judges", "prover 1"])
def test_text_that_names_no_judge_is_refused(text):
    with pytest.raises(UserError, match="held_out_judge"):
        Judge.parse(text)


def test_only_verifiers_have_a_round():
    with pytest.raises(ValueError, match="round"):
        Judge("verifier")
    with pytest.raises(ValueError, match="round"):
        Judge("held_out_judge", 0)


def test_judges_of_a_run_are_its_finished_rounds_and_the_held_out_judge(tmp_path):
    run = RunFolder(tmp_path)
    for phase in ("rounds/00/collection", "rounds/01/collection", "rounds/02/verifier"):
        with run.phase(phase):
            pass
    assert judges_of(run) == [verifier(0), verifier(1)]
    assert judges_of(run, [0]) == [verifier(0)]
    with run.phase("judge"):
        pass
    assert judges_of(run) == [verifier(0), verifier(1), HELD_OUT_JUDGE]


def test_the_held_out_judge_has_settings_of_its_own():
    verifiers = VerifierSettings(model="nano-s", layers=1, score="likelihood", lm_weight=0.3, updates=150)
    game = GameSettings(
        held_out_judge_model="nano-equal",
        held_out_judge_score="last_token",
        held_out_judge_updates=300,
        held_out_judge_learning_rate=0.01,
        held_out_judge_template="{problem} {solution}",
    )
    config = Config(verifier=verifiers, game=game)
    assert verifier(1).settings(config) == verifiers
    changed = {"model": "nano-equal", "layers": None, "score": "last_token", "lm_weight": 0.0, "updates": 300}
    changed |= {"learning_rate": 0.01, "template": "{problem} {solution}"}
    assert HELD_OUT_JUDGE.settings(config) == verifiers.model_copy(update=changed)
    assert HELD_OUT_JUDGE.settings(Config(verifier=verifiers)) == verifiers
    with pytest.raises(ValidationError, match=r"game\.held_out_judge_template"):
        Config(game=GameSettings(held_out_judge_template="{problem}"))
