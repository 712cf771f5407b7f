"""What evaluations and summaries write, and the reading of what earlier versions wrote."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
from pydantic import RootModel

from legibility.errors import UserError
from legibility.evaluation import schema, summary_schema
from legibility.evaluation.schema import SECTION_FILES, Evaluation, HackingRow, Matrix, read_evaluation, write_section
from legibility.evaluation.summary_schema import SCHEMA, Summary, read_summary
from legibility.evaluation.text_sets import BothRoles
from legibility.game.condition import HELD_OUT_JUDGE, verifier
from legibility.game.run_folder import RunFolder
from legibility.stored import Interval, Stored, stored_text
from tests.support import ROOT

VERSION_1 = json.loads((ROOT / "docs/figures/nano_summary.json").read_text(encoding="utf-8"))
"""Summaries of three real runs, written by the first version of the layout."""

CELL = {"judge": {"round 0": 0.75}, "verifier 0": {"round 0": None}}
BOUNDS = {"judge": {"round 0": [0.7, 0.8]}, "verifier 0": {"round 0": [None, None]}}
OLD_MATRIX = {
    "verifiers": ["verifier 0", "judge"],
    "solutions": ["round 0"],
    "counts": {"round 0": {"correct": 30, "incorrect": 25}},
    "threshold": {"verifier 0": None, "judge": 0.5},
    "decoding": {"temperature": 1.0, "samples": 4, "problems": 60},
    "least": 20,
    **{metric: CELL for metric in ("auroc", "pairwise", "recall", "fpr")},
    **{f"{metric}_interval": BOUNDS for metric in ("auroc", "pairwise", "recall", "fpr")},
}
"""matrix.json of a version that called the held-out judge "judge"."""


def as_json(record) -> object:
    return json.loads(stored_text(record))


def renamed(data):
    """A copy with "judge" as "held_out_judge", in keys and values."""
    return json.loads(json.dumps(data).replace('"judge"', '"held_out_judge"'))


@pytest.mark.parametrize("index", range(3))
def test_summaries_of_version_1_are_read_with_every_number(tmp_path, index):
    (tmp_path / "summary.json").write_text(json.dumps(VERSION_1[index]), encoding="utf-8")
    summary = read_summary(tmp_path / "summary.json")
    assert as_json(summary) == {**VERSION_1[index], "schema": SCHEMA}
    assert list(as_json(summary)) == list(VERSION_1[index])  # in the same order
    assert summary.arms.game.rounds[0].verifier.auroc_base.pooled is not None and summary.evaluation is None


def test_the_held_out_judge_of_older_files_has_todays_name(tmp_path):
    old = {**VERSION_1[0], "evaluation": {"matrix": OLD_MATRIX}}
    (tmp_path / "summary.json").write_text(json.dumps(old), encoding="utf-8")
    matrix = read_summary(tmp_path / "summary.json").evaluation.matrix
    assert matrix.verifiers == [verifier(0), HELD_OUT_JUDGE]
    assert matrix.auroc[HELD_OUT_JUDGE][BothRoles(0)] == 0.75
    assert as_json(matrix) == renamed(OLD_MATRIX)


def test_a_summary_is_written_as_it_is_read(tmp_path):
    summary = Summary.model_validate({**VERSION_1[0], "schema": SCHEMA})
    (tmp_path / "summary.json").write_text(stored_text(summary), encoding="utf-8")
    assert read_summary(tmp_path / "summary.json") == summary


def test_arms_and_sections_that_a_run_lacks_are_absent_not_null():
    data = deepcopy(VERSION_1[0])
    del data["arms"]["correctness"]
    written = as_json(Summary.model_validate({**data, "schema": SCHEMA, "evaluation": {"attacks": []}}))
    assert "correctness" not in written["arms"] and written["evaluation"] == {"attacks": []}


def test_a_summary_of_a_later_version_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({**VERSION_1[0], "schema": SCHEMA + 1}), encoding="utf-8")
    with pytest.raises(UserError, match="upgrade"):
        read_summary(tmp_path / "summary.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 2}', "{}"])
def test_a_damaged_summary_is_refused_with_what_to_do(tmp_path, content):
    (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"legibility evaluate .* --quick writes it again"):
        read_summary(tmp_path / "summary.json")


def test_sections_are_files_of_their_own(tmp_path):
    run = RunFolder(tmp_path)
    assert read_evaluation(run) is None
    row = HackingRow(verifier=HELD_OUT_JUDGE, kind="junk", change="empty", texts=3, accepted=Interval(value=0.0))
    matrix = Matrix.model_validate(OLD_MATRIX)
    write_section(run, "hacking", [row])
    write_section(run, "matrix", matrix)
    assert read_evaluation(run) == Evaluation(hacking=[row], matrix=matrix)
    written = json.loads((tmp_path / "evaluation/hacking.json").read_text(encoding="utf-8"))
    nothing = {"low": None, "high": None}
    assert written == [
        {
            "verifier": "held_out_judge",
            "kind": "junk",
            "change": "empty",
            "texts": 3,
            "accepted": {"value": 0.0, **nothing},
        }
    ]


def test_a_damaged_section_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/tax.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"tax.json.*legibility evaluate .* --quick writes it again"):
        read_evaluation(RunFolder(tmp_path))


def test_every_section_of_an_evaluation_has_a_file():
    assert set(SECTION_FILES) == set(Evaluation.model_fields)
    for name, model in SECTION_FILES.items():
        rows = model.model_fields["root"].annotation if issubclass(model, RootModel) else model
        assert Evaluation.model_fields[name].annotation == rows | None, name


def test_every_model_and_field_is_described():
    modules = (schema, summary_schema)
    models = [m for module in modules for m in vars(module).values() if isinstance(m, type) and issubclass(m, Stored)]
    models = [m for m in models if m.__module__ in (schema.__name__, summary_schema.__name__)]
    assert len(models) > 25
    for model in models:
        missing = [name for name, field in model.model_fields.items() if not field.description]
        assert model.__doc__ and set(missing) <= set(Interval.model_fields), (model.__name__, missing)
