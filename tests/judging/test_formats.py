"""The items for other tools: what those tools accept, and hostile text."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.judging.formats import label_studio_config
from legibility.judging.importing import import_judgments
from legibility.judging.study_folder import StudyFolder
from tests.judging.tool_files import label_studio_file, said
from tests.judging.world import hand_study, made_up_study


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("import") / "study", raters=2, per_rater=8, attention=2)


@pytest.fixture
def study(exported, tmp_path):

    return StudyFolder.open(shutil.copytree(exported.path, tmp_path / "study"))


def test_hostile_texts_survive_export_unchanged(tmp_path):
    texts = [
        ("p </script><script>alert(1)</script>", "</textarea>\u202e\x07 = 1\n#### 1"),
        ("q", "x" * 50_000),
        ("r", "$\\frac{1}{2}$"),
        ("s", "=1+1\n#### 1"),
    ]
    study = hand_study(tmp_path / "s", texts)
    assert sorted((i.problem, i.solution) for i in study.items.values()) == sorted(texts)
    page = (study.path / "formats" / "form.html").read_text()
    assert page.count("<script") == 2 and "alert(1)</script>" not in page
    sheet = (study.path / "formats/csv/slot-01.csv").read_text()
    assert "'=1+1" in sheet and ",=1+1" not in sheet and ',"=1+1' not in sheet


def test_label_studio_accepts_our_files(study, tmp_path):
    """Label Studio's own validation, where its SDK is installed."""
    sdk = pytest.importorskip("label_studio_sdk.label_interface")
    interface = sdk.LabelInterface((study.path / "formats/label-studio/labeling-config.xml").read_text())
    interface.validate()
    for task in json.loads((study.path / "formats/label-studio/slot-01.json").read_text()):
        assert interface.validate_task(task)
    for task in json.loads(label_studio_file(study, tmp_path).read_text()):
        assert interface.validate_task({"data": task["data"]})
        for annotation in task["annotations"]:
            assert interface.validate_annotation(annotation)
    assert not interface.validate_task({"data": {"problem": "no solution"}})


def test_label_studio_config_needs_no_sdk_to_be_xml():
    from xml.etree import ElementTree

    root = ElementTree.fromstring(label_studio_config(['a < b & "c"']))
    assert {e.get("value") for e in root.iter("Text")} == {"$problem", "$solution"}
    assert [e.get("value") for e in root.iter("Choice")] == ["True", "False"]


def test_argilla_accepts_our_records(study, tmp_path):
    """Argilla's own reader and writer, where it is installed."""
    rg = pytest.importorskip("argilla")
    raw = json.loads((study.path / "formats/argilla/slot-01.json").read_text())
    records = [rg.Record.from_dict(r) for r in raw]
    user = "6fbe06f6-ca1e-4a48-bd3a-509e8dcfa7da"
    for record in records:
        record.responses.add(rg.Response("answer", str(said(study)[record.id]), user_id=user, status="submitted"))
    path = tmp_path / "records.json"
    path.write_text(json.dumps([r.to_dict() for r in records], default=str))
    assert import_judgments(study, path, "argilla").added == 10
