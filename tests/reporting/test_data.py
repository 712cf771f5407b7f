"""What a report shows of finished and unfinished runs, and of runs that people judged."""

from __future__ import annotations

import json

import pytest

from legibility.errors import UserError
from legibility.evaluation.summary import summarise
from legibility.game.condition import CORRECTNESS_ONLY, START, helpful
from legibility.game.human_record import HUMAN
from legibility.game.run_folder import RunFolder
from legibility.reporting import write_report
from legibility.reporting.data import read_run
from legibility.stored import Interval
from tests.reporting.pages import unfinish


def test_policies_are_those_of_the_summary(run: RunFolder) -> None:
    data = read_run(run)
    summary = json.loads((run.path / "summary.json").read_text())["arms"]
    assert [p.condition for p in data.policies] == [START, helpful(0), helpful(1), CORRECTNESS_ONLY]
    assert data.start.accuracy.value == summary["init"]["accuracy"]
    for policy, row in zip(data.game, summary["game"]["rounds"], strict=True):
        assert policy.accuracy == Interval(
            value=row["helpful_accuracy"], low=row["helpful_interval"][0], high=row["helpful_interval"][1]
        )
        assert policy.checked_by("last_verifier") == row["checkability"]["last_verifier"]
        assert policy.checked_by("people") is None


def test_unfinished_run_shows_its_finished_rounds(run: RunFolder) -> None:
    unfinish(run, 1)
    data = read_run(run)
    assert [phase.index for phase in data.rounds] == [0] and data.correctness is None and not data.finished
    assert [policy.condition for policy in data.policies] == [START, helpful(0)]
    assert not (run.path / "summary.json").exists()  # the run is not finished by being looked at


def test_nothing_finished_is_one_clear_error(run: RunFolder) -> None:
    unfinish(run, 0)
    with pytest.raises(UserError, match="no finished round"):
        write_report(run)
    assert not (run.path / "report.html").exists()


def test_interim_numbers_are_those_of_the_summary(run: RunFolder) -> None:
    summary = json.loads((run.path / "summary.json").read_text())
    interim = summarise(run, checked=False).model_dump(mode="json")

    def agrees(mine, theirs, where="") -> None:
        for key, value in mine.items():
            if isinstance(value, dict):
                agrees(value, theirs[key], f"{where}.{key}")
            elif key == "rounds":
                for a, b in zip(value, theirs[key], strict=True):
                    agrees(a, b, f"{where}.{key}")
            elif key not in ("wall_seconds", "peak_memory_mb"):
                assert value == pytest.approx(theirs[key]), f"{where}.{key}"

    agrees({k: v for k, v in interim.items() if k not in ("legibility_tax", "retained_gain")}, summary)


def test_a_changed_file_is_refused(run: RunFolder) -> None:
    (run.path / "rounds/00/prover/metrics.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="missing or changed"):
        read_run(run)


@pytest.mark.parametrize(("simulated", "who"), [(False, "people"), (True, "simulated_raters")])
def test_people_are_checkers_and_simulated_raters_are_not_people(run: RunFolder, simulated, who) -> None:
    known = {"value": 0.75, "low": 0.5, "high": 0.875}
    conditions = [
        {"arm": arm, "round": index, "role": role, "judgments": 4, "raters": 2, "accuracy": known}
        | {"false_accept": known, "false_reject": known}
        for arm, index, role in (("init", -1, "base"), ("game", 1, "helpful"), ("game", 1, "sneaky"))
    ]
    record = {"schema": 1, "simulated": simulated, "study_id": "s", "confidence_level": 0.95, "conditions": conditions}
    (run.path / HUMAN).write_text(json.dumps(record))
    data = read_run(run)
    assert data.start.checkability[who] == data.game[1].checkability[who] == Interval(**known)
    assert data.game[0].checked_by(who) is None and data.correctness_only.checked_by(who) is None
    others = {"people", "simulated_raters"} - {who}
    assert not any(others & set(policy.checkability) for policy in data.policies)


def test_a_record_of_people_that_is_none_is_one_clear_error(run: RunFolder) -> None:
    (run.path / HUMAN).write_text("{}")
    with pytest.raises(UserError, match="legibility analyze"):
        read_run(run)
