"""Text that is handed over: where it is cut, what a planted weak model makes of it, and the figures by hand."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from legibility.errors import UserError
from legibility.evaluation.evaluate import evaluate
from legibility.evaluation.intervals import Resamples
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections import handoff
from legibility.evaluation.sections.handoff import beginning, beginnings, describe, finish
from legibility.evaluation.weak_writer import WeakWriter
from legibility.game.condition import helpful
from legibility.problems.records import Problem
from tests.evaluation.helpers import SMALL
from tests.support import quiet

TEXT = "2 * 3 = 6\n6 + 5 = 11\n#### 11"


@pytest.mark.parametrize(
    ("text", "share", "expected"),
    [
        (TEXT, 0.0, "2 * 3 = 6\n"),
        (TEXT, 0.49, "2 * 3 = 6\n"),
        (TEXT, 0.5, "2 * 3 = 6\n6 + 5 = 11\n"),
        (TEXT, 0.999, "2 * 3 = 6\n6 + 5 = 11\n"),
        ("a\n\n\nb\n", 0.7, "a\n\n\n"),
        ("He has 3. That is 6. So 6", 0.6, "He has 3. That is 6. "),
        ("2.5 + 1 = 3.5", 0.5, ""),
        ("#### 11", 0.9, ""),
        ("", 0.9, ""),
    ],
)
def test_a_text_ends_at_a_seam_and_its_last_piece_is_never_handed_over(text, share, expected):
    assert beginning(text, share) == expected


def frame(*rows):
    return pd.DataFrame(rows, columns=["problem_id", "sample", "text", "verdict"])


def test_the_first_text_of_a_problem_is_cut_at_the_same_share_for_every_arm():
    problems = [Problem(f"p{i}", "?", "1") for i in range(40)]
    lines = "\n".join(f"line {i}" for i in range(11))
    rows = [(p.id, sample, f"{lines} of {sample}", "correct") for p in problems for sample in (1, 0)]
    one, other = (beginnings(problems, frame(*rows), seed=3) for _ in range(2))
    assert one.equals(other) and len(one) == 40
    kept = one.begun.str.count("\n")
    assert kept.min() >= 1 and kept.max() <= 10 and kept.nunique() > 5
    assert not beginnings(problems, frame(*rows), seed=4).equals(one)
    assert list(beginnings(problems, None, seed=3).begun) == [""] * 40


def test_figures_by_hand():
    """Of four texts two are right; the weak model ends one of those and one of the others, and solves one alone."""
    ids = ["a", "b", "c", "d"]
    table = pd.DataFrame(
        {"problem_id": ids, "own_verdict": ["correct", "correct", "incorrect", "invalid"], "begun": ["x\n", "x\n", "", "x\n"],
         "verdict": ["correct", "incorrect", "correct", "invalid"]}
    )  # fmt: skip
    alone = pd.DataFrame({"problem_id": ids[::-1], "verdict": ["incorrect", "correct", "incorrect", "incorrect"]})
    resamples = Resamples(ids, resamples=50, confidence_level=0.95, rng=np.random.default_rng(0))
    row = describe(helpful(1), table, alone, resamples)
    assert (row.writer.value, row.joint.value, row.alone.value) == (0.5, 0.5, 0.25)
    assert (row.utility.value, row.robustness.value, row.nothing_handed_over) == (0.25, 0.5, 0.25)


class Copyist(WeakWriter):
    """A planted weak model: it ends a text with the last number that it was handed, and without one says 0."""

    def go_on(self, questions, begun, seed):
        return [("#### " + (text.split()[-1] if text else "0"), False) for text in begun]


class Stubborn(WeakWriter):
    """The null: it reads nothing."""

    def go_on(self, questions, begun, seed):
        return [("#### 0", False) for _ in begun]


@pytest.mark.parametrize(("kind", "expected"), [(Copyist, [True, False, True]), (Stubborn, [False] * 3)])
def test_planted_weak_models(kind, expected, tiny_run):
    """Handed everything but the answer, whoever copies is right where the text's last step is; nothing read, nothing gained."""
    game = EvaluationRun(tiny_run.path).game
    some = list(game.problems.values())[:3]
    texts = [f"1 + 1 = 2\n0 + {p.answer} = {p.answer}\n#### {p.answer}" for p in some]
    texts[1] = texts[1].replace(str(some[1].answer), "99999")
    table = pd.DataFrame({"problem_id": [p.id for p in some], "own_verdict": "correct", "begun": [beginning(t, 0.9) for t in texts]})  # fmt: skip
    finish(table, kind(None, "", game.config), game, seed=0)
    assert list(table.verdict == "correct") == expected


def test_the_section_of_a_run(evaluated):
    rows = json.loads((evaluated.path / "evaluation/handoff.json").read_text())
    assert [row["arm"] for row in rows] == ["start", "game 0", "game 1", "correctness"]
    for row in rows:
        assert 0 <= row["joint"]["value"] <= 1
        assert row["utility"]["value"] == pytest.approx(row["joint"]["value"] - row["alone"]["value"])
    kept = pd.read_parquet(evaluated.path / "evaluation/handoff/game_01/handed_over.parquet")
    run = EvaluationRun(evaluated.path)
    first = run.texts[helpful(1)].query("sample == 0").set_index("problem_id").text
    assert all(first[p].startswith(begun) for p, begun in zip(kept.problem_id, kept.begun, strict=True))
    assert handoff.lacking(run) == 0


def test_the_weak_model_reads_the_problem_and_the_beginning(tiny_run):
    run = EvaluationRun(tiny_run.path)
    writer = WeakWriter.load(run.config, "cpu")
    question = "Tom has 3 pens."
    whole = writer.model.tokenizer.decode(writer.prompt(question, "2 * 3 = 6\n"))
    template = run.config.verifier.template.partition("{solution}")[0].replace("{problem}", question)
    assert whole.replace(" ", "") == (template + "2 * 3 = 6\n").replace(" ", "")
    ended = writer.go_on([question, question], ["", "2 * 3 = 6\n"], seed=5)
    assert len(ended) == 2 and ended == writer.go_on([question, question], ["", "2 * 3 = 6\n"], seed=5)


def test_a_base_that_writes_no_text_is_said_and_nothing_is_left(copied, monkeypatch):
    def no_language_model(*_):
        raise UserError("verifier.model: a classifier")

    monkeypatch.setattr(WeakWriter, "load", no_language_model)
    found = evaluate(copied.path, quick=True, overrides=SMALL, progress=quiet())
    assert found.handoff == [] and not any((copied.path / "evaluation").glob("handoff/*"))
    assert handoff.lacking(EvaluationRun(copied.path)) == 0


def test_a_changed_file_is_refused_and_not_taken_for_a_base_that_cannot_write(evaluated, tmp_path):
    shutil.copytree(evaluated.path, tmp_path / "run")
    file = tmp_path / "run/evaluation/handoff/game_01/handed_over.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"handed_over\.parquet.*changed"):
        handoff.compute(EvaluationRun(tmp_path / "run"))
