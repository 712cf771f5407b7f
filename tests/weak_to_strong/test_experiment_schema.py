"""summary.json as records: what was written is read back, earlier files too, others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legibility.errors import UserError
from legibility.stored import stored_text
from legibility.weak_to_strong.experiment_schema import ExperimentSummary, read_summary
from legibility.weak_to_strong.items import PARTS

HALF = {"value": 0.5, "low": 0.4, "high": 0.6}
PGR = {"value": 1.0, "low": 0.0, "high": 2.0}
NONE = {"value": None, "low": None, "high": None, "undefined": "no gap to recover"}
WEAK = {"model": "xs", "teacher": "single", "oversight": "none", "parameters": 10, "accuracy": HALF}
STORED = {  # as the version before the records wrote it
    "schema": 2,
    "study": "w2s",
    "task": "solutions",
    "text": "prover",
    "seeds": [0],
    "items": dict.fromkeys(PARTS, 4),
    "test_groups": 3,
    "confidence_level": 0.95,
    "weak": [
        {**WEAK, "accuracy_on_student_half": 0.75},
        {
            **WEAK,
            "teacher": "boost",
            "accuracy_on_student_half": 0.5,
            "ensemble_sizes": [1],
            "validation_accuracy_by_size": [[0.5, 0.25]],
            "learner_weights": [[2.5]],
            "stopped": [None],
        },
    ],
    "ceiling": [{"model": "s", "objective": "xent", "parameters": 20, "accuracy": HALF}],
    "students": [
        {
            "objective": "xent",
            "teacher": "single",
            "oversight": "none",
            "sizes": {
                "weak": "xs",
                "strong": "s",
                "weak_parameters": 10,
                "strong_parameters": 20,
                "chain": ["xs", "s"],
                "ratio": 2.0,
            },
            "accuracy": HALF,
            "pgr": PGR,
            "pgr_over_supervisor": NONE,
            "gain_over_weak": HALF,
            "gap": HALF,
            "best": {"accuracy": HALF, "pgr": PGR},
            "oracle_best": {"accuracy": HALF, "pgr": NONE},
            "agreement": {"all": 0.5, "supervisor_right": 0.5, "supervisor_wrong": None},
            "curve": [{"step": 3, "share": 1.0, "true": 0.5, "weak": 0.75}],
        }
    ],
    "skipped": [],
    "auto_aligner": {
        "generations": ["xs", "s"],
        "objective": "xent",
        "drift": [],
        "supervisor_generation": [1],
        "alarms": [[None, "fell"]],
        "auto_aligner": {"accuracy": HALF, "pgr": PGR},
        "one_jump_calibrated": {"accuracy": HALF, "pgr": PGR},
        "one_jump": {"accuracy": HALF, "pgr": PGR},
    },
    "in_context": None,
    "game_teacher": None,
    "generation": None,
    "cpu_seconds": 1.5,
    "peak_memory_mb": 900.0,
}


def written(folder: Path, **changes) -> Path:
    (folder / "summary.json").write_text(json.dumps({**STORED, **changes}), encoding="utf-8")
    return folder


def test_a_summary_of_an_earlier_version_is_read_and_written_back_the_same(tmp_path):
    summary = read_summary(written(tmp_path))
    assert json.loads(stored_text(summary)) == STORED
    assert list(json.loads(stored_text(summary))) == list(STORED)
    student = summary.students[0]
    assert student.plain and student.pair == ("xs", "s") and student.pgr_over_supervisor.undefined
    assert summary.name == "w2s" and summary.weak[0].ensemble_sizes is None and summary.weak[1].ensemble_sizes == [1]
    assert summary.auto_aligner is not None and summary.auto_aligner.bootstrapping is None


def test_what_an_experiment_writes_is_read_back_byte_for_byte(finished):
    assert stored_text(read_summary(finished)) == (finished / "summary.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 1}, "schema 1, this version reads 2"),
        ({"seeds": "none"}, "seeds"),
        ({"weak": [{}]}, r"weak\.0\.model"),
    ],
)
def test_a_summary_that_does_not_fit_is_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        read_summary(written(tmp_path, **changes))
    assert "\n" not in str(error.value) and "summary.json" in str(error.value)


def test_an_unfinished_experiment_is_told_how_to_go_on(tmp_path):
    with pytest.raises(UserError, match="--resume"):
        read_summary(tmp_path)


def test_every_key_has_a_description():
    schema = ExperimentSummary.model_json_schema()
    for definition in [schema, *schema["$defs"].values()]:
        if definition["title"] in ("Interval", "PgrEstimate"):
            continue  # value, low and high say it themselves
        for name, field in definition["properties"].items():
            assert field.get("description"), f"{definition['title']}.{name}"
