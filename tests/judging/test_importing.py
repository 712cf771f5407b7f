"""Import into the one table: every refused row is named, the others are kept."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.judging.study_folder import StudyFolder
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
        f"{items[6]},True,anna\n"
        f"{items[7]},,anna,3,,\n"
        f"{items[8]},FALSE,anna,,,\n"
    )
    result = legibility("import", study.path, sheet, "--from", "csv")
    assert result.code == 0
    lines = result.err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"refused line {n}" for n in (3, 4, 5, 6, 7, 8, 9, 11)]
    for line, part in zip(
        lines,
        (
            "'maybe'",
            "not in this study",
            "--rater",
            "seconds 'soon'",
            "confidence '9'",
            "fewer lines",
            "the first stands",
            "cells",
        ),
        strict=True,
    ):
        assert part in line
    assert "2 judgments added, 1 known already, 8 refused" in result.out
    kept = [json.loads(line) for line in (study.path / "refused.jsonl").read_text().splitlines()]
    assert [k["where"] for k in kept] == [f"line {n}" for n in (3, 4, 5, 6, 7, 8, 9, 11)]
    assert legibility("import", study.path, sheet, "--from", "csv").out.startswith(
        f"{sheet}: 0 judgments added, 3 known"
    )
    assert len((study.path / "refused.jsonl").read_text().splitlines()) == 8
