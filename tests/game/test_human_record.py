"""human.json: read under its keys, and refused where it is something else."""

from __future__ import annotations

import json

import pytest

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.game.human_record import HUMAN, HumanAccuracy, HumanRecord, accuracy_of_people, read_human_record
from legibility.stored import Interval, write_stored

UNDEFINED = {"value": None, "low": None, "high": None}
ACCURACY = {"value": 0.75, "low": 0.5, "high": 0.875}


def test_the_record_keeps_the_keys_of_the_file(tmp_path):
    accuracy = HumanAccuracy(
        arm="game",
        round=1,
        role="helpful",
        judgments=40,
        raters=5,
        accuracy=Interval(**ACCURACY),
        false_accept=Interval(),
        false_reject=Interval(),
    )
    record = HumanRecord(simulated=False, study_id="abc", confidence_level=0.95, conditions=[accuracy])
    write_stored(tmp_path / HUMAN, record)
    stored = json.loads((tmp_path / HUMAN).read_text())
    assert list(stored) == ["schema", "simulated", "study_id", "confidence_level", "conditions"]
    assert stored["schema"] == 1 and stored["confidence_level"] == 0.95
    assert stored["conditions"] == [
        {
            "arm": "game",
            "round": 1,
            "role": "helpful",
            "judgments": 40,
            "raters": 5,
            "accuracy": ACCURACY,
            "false_accept": UNDEFINED,
            "false_reject": UNDEFINED,
        }
    ]
    found = read_human_record(tmp_path)
    assert found == record
    assert found.accuracy(Condition("game", 1, "helpful")) == Interval(**ACCURACY)
    assert found.accuracy(Condition("game", 0, "helpful")) is None


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    """It called the level of its intervals `confidence`."""
    record = {"schema": 1, "simulated": False, "study_id": "abc", "confidence": 0.9, "conditions": []}
    (tmp_path / HUMAN).write_text(json.dumps(record))
    assert read_human_record(tmp_path).confidence_level == 0.9


def test_a_run_nobody_judged_has_no_record(tmp_path):
    assert read_human_record(tmp_path) is None


@pytest.mark.parametrize("text", ["{}", "[", "3", '{"schema": 2}'])
def test_another_file_is_refused_by_name(tmp_path, text):
    (tmp_path / HUMAN).write_text(text)
    with pytest.raises(UserError, match=r"human\.json: .*legibility analyze"):
        read_human_record(tmp_path)


def judged(arm: str, round_index: int, role: str, value: float) -> HumanAccuracy:
    accuracy = Interval(value=value, low=value - 0.1, high=value + 0.1)
    nothing = Interval()
    return HumanAccuracy(
        arm=arm, round=round_index, role=role, judgments=9, raters=3, accuracy=accuracy, false_accept=nothing,
        false_reject=nothing,
    )  # fmt: skip


def test_accuracy_of_people_by_arm_is_of_honest_text_and_of_people(tmp_path):
    """Any arm, in the order of reports; what simulated raters say is nothing about people."""
    assert accuracy_of_people(tmp_path) == {}
    entries = [
        judged("tandem", 0, "helpful", 0.8),
        judged("game", 1, "helpful", 0.7),
        judged("game", 1, "sneaky", 0.2),
        judged("init", -1, "base", 0.6),
    ]
    for simulated in (False, True):
        record = HumanRecord(simulated=simulated, study_id="abc", confidence_level=0.95, conditions=entries)
        write_stored(tmp_path / HUMAN, record)
        found = accuracy_of_people(tmp_path)
        if simulated:
            assert found == {}
        else:
            assert [str(c) for c in found] == ["init:-1:base", "game:1:helpful", "tandem:0:helpful"]
            assert found[Condition("tandem", 0, "helpful")] == Interval(value=0.8, low=0.8 - 0.1, high=0.8 + 0.1)
