"""judgments.csv: a table edited into something else is refused."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from legibility.judging.importing import import_judgments
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE
from tests.judging.tool_files import csv_sheet
from tests.judging.world import made_up_study
from tests.support import legibility


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("import") / "study", raters=2, per_rater=8, attention=2)


@pytest.fixture
def study(exported, tmp_path):

    return StudyFolder.open(shutil.copytree(exported.path, tmp_path / "study"))


def test_an_edited_table_is_refused_not_overwritten(study, tmp_path):
    path = csv_sheet(study, tmp_path)
    import_judgments(study, path, "csv")
    table = study.path / TABLE
    for spoil in (lambda f: f.drop(columns="rater"), lambda f: f.assign(seconds="long")):
        text = spoil(pd.read_csv(table, dtype=str, keep_default_na=False)).to_csv(index=False)
        (tmp_path / "kept").write_bytes(table.read_bytes())
        table.write_text(text)
        assert legibility("import", study.path, path, "--from", "csv").code == 2
        assert table.read_text() == text
        table.write_bytes((tmp_path / "kept").read_bytes())
