"""Records of a study folder: keys as they stand in the files, old spellings read."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from legibility.game.condition import HELD_OUT_JUDGE, Condition, verifier
from legibility.judging.study_folder import json_lines
from legibility.judging.study_schema import (
    Coverage,
    JudgmentEvent,
    KeyEntry,
    RefusedRow,
    Slot,
    StudyItem,
    content_hash,
    server_event,
)

KEY_LINE = {
    "item_id": "0a",
    "problem_id": "p1",
    "arm": "game",
    "round": 2,
    "role": "sneaky",
    "correct": False,
    "score": -0.5,
    "scores": {"verifier 0": 1.25, "held_out_judge": -2.0},
    "problem_chars": 10,
    "solution_chars": 20,
    "solution_tokens": 7,
    "first_wrong_line": 1,
    "kind": "study",
    "run": "tiny",
    "content_sha256": "ff",
}


def test_lines_keep_their_keys_and_order():
    lines = json_lines([StudyItem(item_id="0a", problem="1 + 1?", solution="é"), Slot(slot=1, items=["0a"])])
    assert lines == '{"item_id": "0a", "problem": "1 + 1?", "solution": "é"}\n{"slot": 1, "items": ["0a"]}\n'
    assert json.loads(json_lines([KeyEntry(**KEY_LINE)])) == KEY_LINE
    row = RefusedRow(file="a.csv", source="csv", where="line 2", reason="no item_id")
    assert list(json.loads(json_lines([row]))) == ["file", "from", "where", "reason"]


def test_a_key_entry_knows_its_writer_and_reads_the_old_name_of_the_held_out_judge():
    old = KEY_LINE | {"scores": {"verifier 0": 1.25, "held-out judge": -2.0}}
    assert KeyEntry(**old) == KeyEntry(**KEY_LINE)
    assert KeyEntry(**old).condition == Condition("game", 2, "sneaky")
    assert KeyEntry(**old).scores == {verifier(0): 1.25, HELD_OUT_JUDGE: -2.0}


def test_events_are_told_apart_and_checked():
    event = {
        "event": "judgment",
        "slot": 1,
        "token": "t",
        "item_id": "0a",
        "answer": True,
        "seconds": 3.5,
        "timed_out": False,
        "confidence": None,
        "first_wrong_step": None,
        "started_at": "",
        "finished_at": "",
        "at": "",
    }
    assert isinstance(server_event.validate_python(event), JudgmentEvent)
    for change in ({"event": "shown"}, {"slot": 0}, {"answer": "perhaps"}, {"more": 1}):
        with pytest.raises(ValidationError):
            server_event.validate_python(event | change)


def test_the_content_hash_tells_the_two_texts_apart():
    assert content_hash("a", "bc") != content_hash("ab", "c") and len(content_hash("a", "b")) == 64


def test_coverage_without_careless_raters_has_no_recall():
    found = Coverage(repeats=2, covered=0.95, by_condition={}, bias=0.01, width=0.2, recall=None, false_exclusion=0.125)
    first, second = found.lines()
    assert "95.0%" in first and "+0.0100" in first and second == "false-exclusion rate 0.125"
    assert next(iter(found.model_dump())) == "simulation"


def test_coverage_of_careless_raters_alone_has_no_false_exclusions_and_no_error():
    nothing = dict(bias=float("nan"), width=float("nan"), false_exclusion=None)
    found = Coverage(repeats=2, covered=0.0, by_condition={}, recall=0.5, **nothing)
    first, second = found.lines()
    assert first.endswith("bias –, mean width –") and second == "exclusion rules: recall 0.500"
    assert found.bias is None  # nan could not be written
