"""What the built-in models have read: the record on disk, and that no drawn problem stands in it."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest

from legibility.models.nano import CURRICULUM, SOLUTION, training_texts
from legibility.problems import ProblemSettings, load_problems
from legibility.problems.generator import HELD_OUT_FAMILIES, PRETRAIN_FAMILIES, generate_problems
from legibility.problems.pretraining import QUESTIONS_FILE, PretrainingText, built_in_text
from legibility.problems.sources import FileSource, GeneratedSource, draw_generated
from legibility.problems.storage import problem_record
from legibility.stored import stored_text

READ = ["Ann has 3 pens.", "Ann  has 40 pens.", "Bob has 2 dogs and 3 cats."]
# the problems of configs/nano.yaml before read questions were left out
NANO = {"count": 8000, "families": list(PRETRAIN_FAMILIES)}


def test_a_question_is_found_by_its_text_and_a_wording_by_all_but_its_numbers():
    text = PretrainingText.of(READ)
    assert (len(text.questions), len(text.wordings)) == (3, 2)
    assert text.holds("ann has 40 pens.") and not text.holds("Ann has 4 pens.")
    assert text.holds_wording("Ann has 4 pens.") and not text.holds_wording("Ann has 4 books.")
    nothing = PretrainingText.of([])
    assert not nothing.holds("Ann has 3 pens.") and not nothing.holds_wording("Ann has 3 pens.")


def test_the_record_is_the_same_when_it_is_read_back(tmp_path):
    text = PretrainingText.of(f"Ann has {i} pens and {i % 7} {chr(97 + i % 26)}s." for i in range(5000))
    text.save(tmp_path / "read.npz")
    back = PretrainingText.load(tmp_path / "read.npz")
    assert np.array_equal(back.questions, text.questions) and np.array_equal(back.wordings, text.wordings)
    assert back.questions.dtype == np.uint32


@pytest.mark.parametrize("stage", range(3))
def test_the_shipped_record_holds_what_the_first_models_read(stage):
    texts = islice(training_texts(stage + 1, CURRICULUM[stage], roles=True), 1024)
    questions = [prompt.partition("|>")[2].removesuffix(SOLUTION) for prompt, _ in texts]
    assert all(built_in_text().holds(question) for question in questions)


def test_an_unread_question_is_hardly_ever_taken_for_a_read_one():
    """About one in 13,000, with hashes of 32 bits; held-out stories stand in no pre-training text."""
    unread = generate_problems(3000, 5, families=HELD_OUT_FAMILIES)
    assert sum(built_in_text().holds(p.question) for p in unread) <= 2


def test_drawn_problems_leave_read_questions_out_and_take_the_next_ones():
    count = 3000
    with_read, none = draw_generated(GeneratedSource(**{**NANO, "count": count}, leave_out_read=False))
    clean, left_out = draw_generated(GeneratedSource(**{**NANO, "count": count}))
    read = [p for p in with_read if built_in_text().holds(p.question)]
    assert none == 0 and len(read) > 0, "nothing to leave out: the test shows nothing"
    assert len(clean) == count and not any(built_in_text().holds(p.question) for p in clean)
    assert len(read) <= left_out
    kept = [p for p in with_read if p not in read]
    assert clean[: len(kept)] == kept, "the other problems are as they were, under the same ids"
    assert len({p.id for p in clean}) == count


def test_the_report_counts_what_was_left_out_and_what_has_the_same_wording():
    settings = ProblemSettings(train=GeneratedSource(**NANO), verifier=750, validation=150, test_size=400, prover=4000)
    checks = load_problems(settings).report.pretraining
    assert checks.left_out > 10
    assert set(checks.same_question.model_dump(exclude_none=True).values()) == {0}
    assert checks.same_question.judge == 0
    assert 0 < checks.same_wording.test < 400
    dirty = load_problems(
        settings.model_copy(update={"train": settings.train.model_copy(update={"leave_out_read": False})})
    )
    found = dirty.report.pretraining
    assert found.left_out == 0
    assert found.same_question.test == sum(built_in_text().holds(p.question) for p in dirty.test) > 0
    assert '"left_out": 0' in stored_text(dirty.report)


def test_generated_problems_from_a_file_are_counted(tmp_path):
    problems = generate_problems(60, 100_003, steps={1: 0.6, 2: 0.4}, families=PRETRAIN_FAMILIES)  # the first read
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(problem_record(p)) + "\n" for p in problems))
    source = FileSource(path=str(tmp_path / "p.jsonl"), id="id")
    settings = ProblemSettings(train=source, prover=10, verifier=10, validation=5, test_size=20)
    checks = load_problems(settings).report.pretraining
    assert (checks.left_out, checks.same_question.test, checks.same_wording.test) == (0, 20, 20)


def test_the_record_is_small():
    assert QUESTIONS_FILE.stat().st_size < 1_500_000
