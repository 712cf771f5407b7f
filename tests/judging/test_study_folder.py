"""Opening a study: tampering is noticed, and a study exported earlier stays readable."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.errors import UserError
from legibility.judging.study_folder import CHECKSUMS, KEY, StudyFolder
from tests.judging.world import made_up_study


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study")


@pytest.mark.parametrize("name", ["items.jsonl", "assignments.jsonl", "study.yaml"])
def test_edited_files_are_noticed(study, name):
    (study.path / name).write_text((study.path / name).read_text() + " ")
    with pytest.raises(UserError, match=f"{name}: changed since the export"):
        StudyFolder.open(study.path)
    (study.path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        StudyFolder.open(study.path)


def test_a_key_that_is_not_this_studys_is_refused(study, tmp_path):
    other = made_up_study(tmp_path / "other", seed=9)
    shutil.copy(other.path / KEY, study.path / KEY)
    with pytest.raises(UserError, match=r"key\.jsonl: changed"):
        StudyFolder.open(study.path).key()
    hashes = json.loads((study.path / CHECKSUMS).read_text())
    hashes["sha256"][KEY] = json.loads((other.path / CHECKSUMS).read_text())["sha256"][KEY]
    (study.path / CHECKSUMS).write_text(json.dumps(hashes))
    with pytest.raises(UserError, match=r"key\.jsonl: does not match items\.jsonl"):
        StudyFolder.open(study.path).key()
