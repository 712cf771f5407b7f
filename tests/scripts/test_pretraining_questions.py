"""scripts/pretraining_questions.py: what it replays is what the shipped models read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legibility.models import nano
from legibility.problems.pretraining import PretrainingText
from tests.support import script

questions = script("pretraining_questions")


def test_every_shipped_model_has_a_run():
    named = {file for run in questions.RUNS for file in run.files}
    shipped = {f"{path.parent.name}/{path.name}" for path in nano.NANO_DIR.glob("*/pretraining*.json")}
    assert named == shipped, "new weights need a line in RUNS, and the record written again"


@pytest.mark.parametrize("marked", [False, True])
def test_the_record_is_of_what_was_replayed_and_another_text_stops_it(tmp_path, monkeypatch, marked):
    (tmp_path / "m").mkdir()
    run = questions.Run(("m/pretraining.json",), "verifier-xs", marked=marked, steps=4)
    pieces = list(run.replay())
    tokens = sum(count for _, count in pieces)
    monkeypatch.setattr(questions, "RUNS", (run,))
    monkeypatch.setattr(questions, "QUESTIONS_FILE", tmp_path / "read.npz")
    monkeypatch.setattr(nano, "NANO_DIR", tmp_path)
    key = "marking_tokens" if marked else "tokens"
    (tmp_path / "m/pretraining.json").write_text(f'{{"{key}": {tokens}.0}}')
    questions.main(write=False)
    assert not (tmp_path / "read.npz").exists()
    questions.main(write=True)
    record = PretrainingText.load(tmp_path / "read.npz")
    asked = [question for group, _ in pieces for question in group]
    assert asked and all(record.holds(question) for question in asked)
    (tmp_path / "m/pretraining.json").write_text(f'{{"{key}": {tokens * 1.01}}}')
    with pytest.raises(SystemExit, match="not the same text"):
        questions.main(write=False)


def test_a_run_has_its_own_number_of_steps():
    run = questions.RUNS[1]
    assert run.nano_size == replace(nano.SIZES["prover"], steps=1200, marking_steps=1200)
    assert questions.RUNS[0].nano_size == nano.SIZES["prover"]
