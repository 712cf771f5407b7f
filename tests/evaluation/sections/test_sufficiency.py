"""What the steps tell: texts taken apart, planted readers, the figures by hand, and their nulls."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.evaluation.evaluate import evaluate
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections import sufficiency
from legibility.evaluation.sections.sufficiency import (
    answer_all,
    describe,
    of_another,
    other_problems,
    steps_of,
    taken_apart,
)
from legibility.evaluation.weak_writer import WeakWriter
from legibility.game.condition import helpful
from legibility.problems.records import Problem
from tests.evaluation.helpers import SMALL, resamples
from tests.support import quiet

MARKER = "Answer:"


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("2 * 3 = 6\n6 + 1 = 7\nAnswer: 7\n", "2 * 3 = 6\n6 + 1 = 7"),
        ("Answer: 7", ""),
        ("Answer: 7\n\n  Answer: 7", ""),
        ("He has 7.\nThe Answer: 7", "He has 7.\nThe Answer: 7"),
        ("", ""),
    ],
)
def test_no_line_that_tells_the_answer_is_read(text, steps):
    assert steps_of(text, MARKER) == steps


def test_the_problem_shown_has_another_answer():
    problems = [Problem("a", "?", "5"), Problem("b", "?", "5.0"), Problem("c", "?", "6"), Problem("d", "?", "7")]
    assert other_problems(problems) == {"a": "c", "b": "c", "c": "d", "d": "a"}
    assert other_problems(problems[:2]) == {"a": "", "b": ""}


class Copyist(WeakWriter):
    """A planted reader: it says the last number of the steps, whatever the problem."""

    def answers(self, questions, steps, seed):
        return [text.split()[-1] for text in steps]


class Solver(WeakWriter):
    """The null: it reads no steps, and knows the answer of the problem that it is shown."""

    def answers(self, questions, steps, seed):
        return [question.partition("is ")[2] for question in questions]


COUNT = 10


def told(k: int) -> str:
    return f"2 * {k} = {2 * k}\n{2 * k} + 1 = {2 * k + 1}\nAnswer: {2 * k + 1}"


def texts(*lines: str):
    """Ten problems whose answers are 1, 3, 5, …, and a text of each."""
    problems = [Problem(f"p{k}", f"it is {2 * k + 1}", str(2 * k + 1)) for k in range(COUNT)]
    frame = pd.DataFrame({"problem_id": [p.id for p in problems], "sample": 0, "text": lines, "verdict": "correct"})
    return problems, frame


def row_of(frame, problems, kind=Copyist):
    table = taken_apart(problems, frame, MARKER)
    by_id = {p.id: p for p in problems}
    answer_all(table, kind(None, "", None), by_id, seed=0)
    return describe(helpful(0), table, by_id, resamples([p.id for p in problems]))


def test_a_text_that_tells_everything_is_sufficient():
    problems, frame = texts(*map(told, range(COUNT)))
    row = row_of(frame, problems)
    figures = (row.own, row.right, row.gold, row.consistent, row.told, row.follows, row.used)
    assert [f.value for f in figures] == [1.0] * 7
    assert row.no_steps == 0 and row.own_null.value == row.follows_null.value == 0.0


def test_an_answer_alone_is_not():
    problems, frame = texts(*(f"Answer: {2 * k + 1}" for k in range(COUNT)))
    for kind in (Copyist, Solver):
        row = row_of(frame, problems, kind)
        assert [f.value for f in (row.own, row.gold, row.consistent, row.told, row.follows)] == [0.0] * 5
        assert row.no_steps == 1 and row.writer.value == 1 and row.used.value is None


def test_steps_of_another_problems_text_are_not():
    """The null: everything is told, of something else. The reader reads it all the same, with and without the problem."""
    steps = [told(k).rpartition("\n")[0] for k in range(COUNT)]
    problems, frame = texts(*(f"{steps[k - 1]}\nAnswer: {2 * k + 1}" for k in range(COUNT)))
    row = row_of(frame, problems)
    assert [f.value for f in (row.own, row.right, row.gold, row.told, row.follows)] == [0.0] * 5
    assert row.consistent.value == row.used.value == 1
    assert row.own_null.value == row.follows_null.value == pytest.approx(1 / 9)  # one of the nine others fits


def test_who_reads_no_steps_is_misled_by_the_problem_shown():
    problems, frame = texts(*map(told, range(COUNT)))
    row = row_of(frame, problems, Solver)
    assert [f.value for f in (row.own, row.gold, row.consistent)] == [0.0] * 3


def test_figures_by_hand():
    """Results alone can be copied and follow from nothing; a slip is copied; a jump follows and leaves a step unused."""
    lines = [
        "12 7\nAnswer: 7",
        "3 * 3 = 11\n11 - 4 = 7\nAnswer: 7",
        "2 * 3 = 6\n5 + 2 = 7\nAnswer: 7",
        "5 + 2 = 7\nAnswer: 8",
        "Answer: 7",
        "no answer",
    ]
    problems = [Problem(f"p{k}", f"it is {k}", "7" if k < 5 else "99") for k in range(6)]
    verdicts = ["correct", "correct", "correct", "incorrect", "correct", "invalid"]
    frame = pd.DataFrame({"problem_id": [p.id for p in problems], "sample": 0, "text": lines, "verdict": verdicts})
    row = row_of(frame, problems)
    assert row.writer.value == pytest.approx(4 / 6) and row.no_steps == pytest.approx(1 / 6)
    assert row.own.value == row.told.value == pytest.approx(3 / 6)
    assert row.right.value == pytest.approx(3 / 4) and row.gold.value == pytest.approx(4 / 6)
    assert row.consistent.value == pytest.approx(4 / 6)  # "answer" is no number
    assert row.follows.value == pytest.approx(1 / 6)
    assert row.used.value == pytest.approx((1 + 0.5 + 1) / 3)
    # 7 is read from four texts: the three right ones that write steps see three others, the bare answer all four
    assert row.own_null.value == pytest.approx((3 * 3 / 5 + 4 / 5) / 6)


def test_a_negative_answer_is_told_by_its_digits():
    problems, frame = texts(*(f"{k} - {2 * k + 1} = -{k + 1}\nAnswer: -{k + 1}" for k in range(COUNT)))
    row = row_of(frame, problems)
    assert row.told.value == row.follows.value == 1


def test_the_share_of_other_texts_that_tell_an_answer():
    assert list(of_another([1, 1, 2, None], [1, 2, 2, 1])) == pytest.approx([1 / 3, 2 / 3, 1 / 3, 0])
    assert list(of_another([1], [1])) == [0]


def test_the_section_of_a_run(evaluated):
    rows = json.loads((evaluated.path / "evaluation/sufficiency.json").read_text())
    assert [row["arm"] for row in rows] == ["start", "game 0", "game 1", "correctness"]
    for row in rows:
        assert 0 <= row["own"]["value"] <= 1 - row["no_steps"]
    run = EvaluationRun(evaluated.path)
    assert sufficiency.lacking(run) == 0
    kept = pd.read_parquet(evaluated.path / "evaluation/sufficiency/game_01/read.parquet")
    assert (kept.shown != kept.problem_id).all() and kept.without[kept.steps == ""].isna().all()
    assert "Do the steps tell the answer?" in (evaluated.path / "report.html").read_text(encoding="utf-8")


def test_the_reader_is_asked_by_the_marker_and_says_the_same_twice(tiny_run):
    run = EvaluationRun(tiny_run.path)
    writer = WeakWriter.load(run.config, "cpu")
    said = writer.answers(["Tom has 3 pens."] * 2, ["3 + 4 = 7", "1 + 1 = 2"], seed=1)
    assert len(said) == 2 and said == writer.answers(["Tom has 3 pens."] * 2, ["3 + 4 = 7", "1 + 1 = 2"], seed=1)
    assert not any("\n" in line for line in said)


def test_without_a_reader_what_needs_none_is_measured_and_nothing_is_kept(copied, monkeypatch):
    def no_language_model(*_):
        raise UserError("verifier.model: a classifier")

    monkeypatch.setattr(WeakWriter, "load", no_language_model)
    found = evaluate(copied.path, quick=True, overrides=SMALL, progress=quiet())
    assert len(found.sufficiency) == 4 and not any((copied.path / "evaluation").glob("sufficiency/*"))
    for row in found.sufficiency:
        assert row.own is None and row.follows.value is not None
    assert sufficiency.lacking(EvaluationRun(copied.path)) == 0


def test_a_changed_file_is_refused(evaluated, tmp_path):
    shutil.copytree(evaluated.path, tmp_path / "run")
    file = tmp_path / "run/evaluation/sufficiency/game_01/read.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"read\.parquet.*changed"):
        sufficiency.compute(EvaluationRun(tmp_path / "run"))
