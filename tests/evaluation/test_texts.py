"""Which stored completions stand under which condition."""

from __future__ import annotations

import shutil

import pandas as pd

from legibility.evaluation.texts import by_problem, first_texts, honest, of_verdict, valid, validation_texts
from legibility.evaluation.texts import test_texts as texts_of  # under its own name pytest takes it for a test
from legibility.game.condition import (
    CORRECTNESS_ONLY,
    HALFWAY,
    LENGTH_PENALISED,
    START,
    START_SNEAKY,
    Condition,
    conditions_of,
    helpful,
    sneaky,
)


def test_texts_of_a_run_are_test_completions_by_who_wrote_them(tiny_run):
    texts = texts_of(tiny_run)
    assert list(texts) == [START, START_SNEAKY, helpful(0), sneaky(0), helpful(1), sneaky(1), CORRECTNESS_ONLY, HALFWAY]
    assert list(texts) == sorted(texts)
    for condition, frame in texts.items():
        assert len(frame) == 40 and set(frame.split) == {"test"} and "ppo" not in set(frame.phase), condition
        if condition != HALFWAY:  # written by the correctness-only arm on its way
            assert conditions_of(frame) == [condition]


def test_texts_are_of_what_is_finished(copied):
    shutil.rmtree(copied.path / "arms")
    shutil.rmtree(copied.path / "rounds/01")
    assert list(texts_of(copied)) == [START, START_SNEAKY, helpful(0), sneaky(0)]


def test_validation_texts_are_of_both_roles_of_the_final_prover(tiny_run):
    frame = validation_texts(tiny_run, 1)
    assert set(frame.split) == {"validation"} and set(frame.phase) == {"collection"}
    assert conditions_of(frame) == [helpful(1), sneaky(1)]


def test_every_arm_is_measured_by_its_honest_text():
    """Also an arm that nobody has thought of yet; not the halfway prover, nor an arm without text."""
    some, other = pd.DataFrame({"text": ["a"]}), Condition("tandem", 0, "helpful")
    conditions = [other, HALFWAY, CORRECTNESS_ONLY, sneaky(0), helpful(1), helpful(0), START_SNEAKY, START]
    texts = dict.fromkeys(conditions, some) | {LENGTH_PENALISED: some[:0]}
    assert honest(texts) == [START, helpful(0), helpful(1), CORRECTNESS_ONLY, other]
    assert [c.folder for c in honest(texts)] == ["init", "game_00", "game_01", "correctness_00", "tandem_00"]


def test_the_first_text_of_a_problem_is_its_first_sample():
    frame = pd.DataFrame({"problem_id": ["b", "a", "b"], "sample": [1, 0, 0], "text": ["b1", "a0", "b0"]})
    assert first_texts(frame).text.to_dict() == {"a": "a0", "b": "b0"}


def test_rows_by_verdict_and_problem():
    frame = pd.DataFrame(
        {"problem_id": ["b", "a", "b", "a"], "verdict": ["correct", "invalid", "incorrect", "correct"]},
        index=[4, 3, 2, 1],
    )
    assert list(valid(frame).index) == [4, 2, 1] and list(of_verdict(frame, "correct").index) == [4, 1]
    assert by_problem(frame).to_dict() == {"a": 0.5, "b": 0.5} and list(by_problem(frame).index) == ["a", "b"]
