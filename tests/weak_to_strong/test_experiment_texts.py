"""Text to classify: whose, of which rounds, and what the generator writes."""

from __future__ import annotations

import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.grading import grade
from legibility.problems.splits import ProblemSplits
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.experiment_texts import SPLITS, Texts, run_texts, write_texts
from legibility.weak_to_strong.task_settings import SolutionsTask

ROWS = pd.DataFrame(
    [
        ("p", "base", -1, "a", "correct"),
        ("p", "helpful", 0, "b", "correct"),
        ("p", "helpful", 1, "c", "invalid"),
        ("q", "sneaky", 0, "d", "incorrect"),
        ("q", "sneaky", 1, "e", "incorrect"),
        ("q", "sneaky", 1, "f", "incorrect"),
    ],
    columns=["problem_id", "role", "round", "text", "verdict"],
)
TEXTS = Texts(ROWS, ROWS[ROWS["round"] == 1], {})


def test_sources_and_rounds_choose_what_is_classified():
    whole = TEXTS.classified(SolutionsTask())
    assert list(whole.text) == ["a", "b", "d", "e", "f"]  # nothing invalid
    assert list(whole.source) == ["base", "helpful 0", "sneaky 0", "sneaky 1", "sneaky 1"]
    assert list(TEXTS.classified(SolutionsTask(sources=["sneaky"], rounds=[0])).text) == ["d"]
    assert list(TEXTS.classified(SolutionsTask(rounds=[1])).text) == ["a", "e", "f"]  # base text has no round
    with pytest.raises(UserError, match=r"no stored completions of helpful in rounds \[1\]"):
        TEXTS.classified(SolutionsTask(sources=["helpful"], rounds=[1]))


def test_assistants_speak_in_sampling_order():
    assert TEXTS.solutions("sneaky") == {"q": ["e", "f"]} and TEXTS.solutions("base") == {}


def test_a_runs_text_is_of_finished_rounds_and_never_ppos_own(tiny_run):
    texts = run_texts(tiny_run.path)
    assert set(texts.frame.phase) <= {"base", "collection"} and set(texts.frame.split) <= set(SPLITS)
    assert set(texts.spoken["round"]) == {tiny_run.rounds()[-1]}
    with pytest.raises(UserError, match="no run folder here"):
        run_texts(tiny_run.path / "nowhere")


def test_the_generator_writes_right_and_wrong_solutions_in_pairs(tmp_path):
    problems = {
        "train": {"kind": "generated", "count": 60},
        "prover": 4,
        "verifier": 10,
        "validation": 4,
        "test_size": 4,
    }
    task = {"kind": "solutions", "writer": "generator", "samples": 4, "problems": problems}
    settings = ExperimentSettings.model_validate(
        {"task": task, "models": {"a": {"model": "nano-xs"}}, "grid": [{"weak": ["a"], "strong": ["a"]}]}
    )
    assert isinstance(settings.task, SolutionsTask)
    fresh = write_texts(settings, settings.task, tmp_path, "cpu")
    splits: ProblemSplits = fresh.splits
    answers = {p.id: p.answer for p in (*splits.verifier, *splits.validation, *splits.test)}
    assert len(fresh.rows) == 4 * len(answers) and fresh.spoken == []
    assert [r.verdict for r in fresh.rows] == ["correct", "incorrect"] * (2 * len(answers))
    for row in fresh.rows:
        assert grade(row.text, answers[row.problem_id]).value == row.verdict
