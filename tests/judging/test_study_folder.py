"""Opening a study: tampering is noticed, and a study exported earlier stays readable."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.errors import UserError
from legibility.files import sha256
from legibility.game.condition import HELD_OUT_JUDGE, verifier
from legibility.judging.study_folder import CHECKSUMS, KEY, PROVENANCE, StudyFolder
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


def test_a_study_exported_earlier_stays_readable(study):
    """Earlier versions called the interval's level `confidence` and the held-out judge "held-out judge"."""
    before = study.key_entries()
    edits = {"study.yaml": ("confidence_level: 0.95", "confidence: 0.9"), KEY: ('"held_out_judge"', '"held-out judge"')}
    for name, (new, old) in edits.items():
        text = (study.path / name).read_text()
        assert new in text
        (study.path / name).write_text(text.replace(new, old))
    hashes = {name: sha256(study.path / name) for name in ("items.jsonl", "assignments.jsonl", "study.yaml", KEY)}
    (study.path / CHECKSUMS).write_text(json.dumps({"sha256": hashes}))
    provenance = json.loads((study.path / PROVENANCE).read_text())
    del provenance["schema"]
    (study.path / PROVENANCE).write_text(json.dumps(provenance))
    old = StudyFolder.open(study.path)
    assert old.protocol.analysis.confidence_level == 0.9
    assert old.key_entries() == before and old.provenance() == study.provenance()
    assert set(old.key().scores.iloc[0]) <= {verifier(0), HELD_OUT_JUDGE}


def test_the_key_is_a_table_of_its_entries(study):
    entries, key = study.key_entries(), study.key()
    assert key.index.name == "item_id" and set(key.index) == set(study.items)
    for entry in entries:
        row = key.loc[entry.item_id]
        for field in ("problem_id", "arm", "round", "role", "condition", "correct", "kind", "scores"):
            assert row[field] == getattr(entry, field), field


@pytest.mark.parametrize("name, text", [(CHECKSUMS, "{}"), (PROVENANCE, "{"), (PROVENANCE, None)])
def test_damaged_papers_are_named(study, name, text):
    (study.path / name).unlink() if text is None else (study.path / name).write_text(text)
    with pytest.raises(UserError, match=f"{name}: .*restore the file the export wrote"):
        StudyFolder.open(study.path).provenance()


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(UserError, match="no study here"):
        StudyFolder.open(tmp_path)
