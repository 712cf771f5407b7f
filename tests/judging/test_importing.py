"""Import into the one table: every refused row is named, the others are kept."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from legibility.files import write_atomic
from legibility.judging.importing import REFUSED, import_judgments
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE, read_table
from tests.judging.world import made_up_study
from tests.support import legibility


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("import") / "study", raters=2, per_rater=8, attention=2)


@pytest.fixture
def study(exported, tmp_path):

    return StudyFolder.open(shutil.copytree(exported.path, tmp_path / "study"))


def test_every_refused_row_is_named_and_the_others_are_kept(study, tmp_path):
    items = study.slots[0]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        "item_id,answer,rater,seconds,confidence,first_wrong_step\n"
        f"{items[0]},True,anna,3,,\n"
        f"{items[1]},maybe,anna,3,,\n"
        "ffffffffffff,True,anna,3,,\n"
        f"{items[2]},True,,3,,\n"
        f"{items[3]},True,anna,soon,,\n"
        f"{items[4]},True,anna,3,9,\n"
        f"{items[5]},True,anna,3,,77\n"
        f"{items[0]},False,anna,3,,\n"
        f"{items[0]},True,anna,3,,\n"
        f"{items[6]},True,anna,3,,,something\n"
        f"{items[7]},,anna,3,,\n"
        f"{items[8]},FALSE,anna,,,\n"
    )
    result = legibility("import", study.path, sheet, "--from", "csv")
    assert result.code == 0
    lines = result.err.splitlines()
    refused, notes = [x for x in lines if x.startswith("refused")], [x for x in lines if x.startswith("note")]
    assert [line.split(":")[0] for line in refused] == [f"refused line {n}" for n in (3, 4, 5, 9, 11)]
    for line, part in zip(
        refused, ("'maybe'", "not in this study", "--rater", "the first stands", "cells"), strict=True
    ):
        assert part in line
    assert [line.split(":")[0] for line in notes] == [f"note on line {n}" for n in (6, 7, 8)]
    for line, part in zip(notes, ("seconds 'soon'", "confidence '9'", "first_wrong_step '77'"), strict=True):
        assert part in line and line.endswith("left out")
    assert "5 judgments added, 1 known already, 5 refused" in result.out
    kept = [json.loads(line) for line in (study.path / "refused.jsonl").read_text().splitlines()]
    assert [k["where"] for k in kept] == [f"line {n}" for n in (3, 4, 5, 9, 11)]
    assert legibility("import", study.path, sheet, "--from", "csv").out.startswith(
        f"{sheet}: 0 judgments added, 6 known"
    )
    assert len((study.path / "refused.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize("name", [TABLE, REFUSED])
def test_a_disk_that_takes_no_more_is_one_line_and_the_next_try_goes_through(study, tmp_path, monkeypatch, name):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"item_id,answer,rater\n{study.slots[0][0]},True,anna\nnothing,True,anna\n")

    def full(path, content):
        if path.name == name:
            raise OSError(28, "No space left on device")
        write_atomic(path, content)

    with monkeypatch.context() as patch:
        for module in ("importing", "table"):
            patch.setattr(f"legibility.judging.{module}.write_atomic", full)
        result = legibility("import", study.path, sheet, "--from", "csv")
    assert result.code == 2 and result.err.count("\n") == 1 and "No space left on device" in result.err
    assert TABLE in result.err and "import again" in result.err and not (study.path / TABLE).exists()
    assert "1 judgments added" in legibility("import", study.path, sheet, "--from", "csv").out


def test_what_utf_8_cannot_write_is_written_out(study, tmp_path):
    """Half a surrogate pair, from JSON or from the name of a file, in what is kept."""
    item, path = study.slots[0][0], tmp_path / os.fsdecode(b"log-\xff.json")
    answers = [{"from_name": "answer", "value": {"choices": ["True"]}}]
    tasks = [
        {"data": {"item_id": item}, "annotations": [{"completed_by": "an\ud800na", "result": answers}]},
        {"data": {"item_id": "\ud800"}, "annotations": [{"completed_by": "anna", "result": answers}]},
    ]
    path.write_text(json.dumps(tasks))
    done = import_judgments(study, path, "label-studio")
    assert done.added == 1 and len(done.refused) == 1
    assert read_table(study.path / TABLE).rater.tolist() == ["label-studio:an\\ud800na"]
    assert json.loads((study.path / REFUSED).read_text())["file"] == "log-\\udcff.json"
