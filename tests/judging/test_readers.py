"""What the tools export is read: every format, its bad rows, and files that are something else."""

from __future__ import annotations

import json
import shutil
import tracemalloc
import zipfile

import pytest

from legibility.errors import UserError
from legibility.judging.importing import import_judgments
from legibility.judging.readers import MAX_UNPACKED, READERS, Refusal
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import COLUMNS, TABLE, Judgment, read_table
from tests.judging.tool_files import (
    argilla_file,
    csv_sheet,
    doccano_file,
    form_file,
    label_studio_file,
    label_studio_min_file,
    said,
)
from tests.judging.world import made_up_study
from tests.support import legibility


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("import") / "study", raters=2, per_rater=8, attention=2)


@pytest.fixture
def study(exported, tmp_path):

    return StudyFolder.open(shutil.copytree(exported.path, tmp_path / "study"))


MAKERS = {
    "csv": (csv_sheet, "csv:anna 0"),
    "label-studio": (label_studio_file, None),
    "label-studio min": (label_studio_min_file, "label-studio:3"),
    "doccano": (doccano_file, "doccano:anna"),
    "argilla": (argilla_file, "argilla:6fbe06f6-ca1e-4a48-bd3a-509e8dcfa7da"),
    "html": (form_file, "html:slot-1"),
}


@pytest.mark.parametrize("tool", MAKERS)
def test_round_trip(study, tmp_path, tool):
    make, rater = MAKERS[tool]
    path, source = make(study, tmp_path), tool.split()[0]
    done = import_judgments(study, path, source)
    assert (done.added, done.known, done.refused) == (10, 0, []), done
    table = read_table(study.path / TABLE)
    assert list(table.columns) == COLUMNS
    assert dict(zip(table.item_id, table.verdict.astype(bool), strict=True)) == said(study)
    assert set(table.tool) == {source}
    if rater:
        assert set(table.rater) == {rater}
    else:
        assert set(table.rater) == {"label-studio:anna@example.org", "label-studio:7"}
        first = table[table.confidence.notna()].iloc[0]
        assert (first.confidence, first.first_wrong_step, first.seconds) == (4, 2, 20.5)
    before = (study.path / TABLE).read_bytes()
    again = import_judgments(study, path, source)
    assert (again.added, again.known, again.refused) == (0, 10, []) and (study.path / TABLE).read_bytes() == before


def test_older_doccano_and_plain_jsonl(study, tmp_path):
    path = doccano_file(study, tmp_path, key="labels")
    with zipfile.ZipFile(path) as archive:
        (tmp_path / "all.jsonl").write_bytes(archive.read("anna.jsonl"))
    assert import_judgments(study, tmp_path / "all.jsonl", "doccano", rater="carl").added == 10
    assert set(read_table(study.path / TABLE).rater) == {"doccano:carl"}


def test_a_zip_that_unpacks_to_too_much_or_is_broken(study, tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("anna.jsonl", b"\n" * (MAX_UNPACKED // 2 + 1))
        archive.writestr("carl.jsonl", b"\n" * (MAX_UNPACKED // 2))
    tracemalloc.start()
    with pytest.raises(UserError, match="unpacks to more than 64 MiB"):
        import_judgments(study, path, "doccano")
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    with zipfile.ZipFile(tmp_path / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("anna.jsonl", b"{}\n" * 99)
    broken = bytearray((tmp_path / "small.zip").read_bytes())
    broken[40:50] = bytes(10)
    (tmp_path / "small.zip").write_bytes(broken)
    with pytest.raises(UserError, match=r"small.zip: cannot be unpacked"):
        import_judgments(study, tmp_path / "small.zip", "doccano")


def test_bad_rows_of_the_other_tools(study, tmp_path):
    item = study.slots[0][0]
    good = {"from_name": "answer", "value": {"choices": ["True"]}}
    cases = {
        "label-studio": [
            [{"id": 1}],
            [{"id": 1, "data": {}, "annotations": []}],
            [{"data": {"item_id": item}, "annotations": [{"result": []}]}],
            [{"data": {"item_id": item}, "annotations": [{"result": [good]}]}],
            [{"data": {"item_id": item}, "annotations": [7]}],
            [
                {
                    "data": {"item_id": item},
                    "annotations": [
                        {
                            "completed_by": 1,
                            "result": [{"from_name": "answer", "value": {"choices": ["True", "False"]}}],
                        }
                    ],
                }
            ],
        ],
        "argilla": [
            [{"id": item, "responses": {"answer": 3}}],
            [{"id": item, "responses": {"confidence": [{"value": 1, "user_id": "u"}]}}],
            [5],
        ],
        "doccano": [
            {"text": "x", "label": ["True"]},
            {"label": ["True", "False"], "item_id": item},
            {"label": ["Good"], "item_id": item},
        ],
        "html": [{"study_id": study.protocol.study_id, "slot": 1, "judgments": [3, {"answer": True}]}],
    }
    for tool, contents in cases.items():
        for content in contents:
            path = tmp_path / "export.json"
            path.write_text(json.dumps(content))
            done = import_judgments(study, path, tool)
            assert done.added == 0 and done.refused, (tool, content)
    assert not (study.path / TABLE).exists()


@pytest.mark.parametrize(
    "tool, content",
    [
        ("csv", "a,b\n1,2\n"),
        ("csv", 'item_id,answer\n"x,True\n'),
        ("html", "{}"),
        ("html", "[["),
        ("label-studio", '{"a": 1}'),
        ("argilla", "3"),
        ("server", '{"event": "nothing"}\n'),
        ("server", "x\ny\n"),
        ("csv", b"\xff\xfe\x00"),
        ("fax", "x"),
    ],
)
def test_files_of_another_format_are_one_line(study, tmp_path, tool, content):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = legibility("import", study.path, path, "--from", tool)
    assert result.code == 2 and result.err.count("\n") == 1 and "Traceback" not in result.err
    assert not (study.path / TABLE).exists()


def test_a_form_of_another_study_is_refused(study, tmp_path):
    path = form_file(study, tmp_path)
    path.write_text(path.read_text().replace(study.protocol.study_id, "another"))
    assert "belongs to study" in legibility("import", study.path, path, "--from", "html").err


@pytest.mark.parametrize(
    "field, value, read",
    [
        ("seconds", 3, 3.0),
        ("seconds", "2.5", 2.5),
        ("seconds", " ", None),
        ("seconds", "nan", "refused"),
        ("seconds", -1, "refused"),
        ("seconds", True, "refused"),
        ("confidence", 4.0, 4),
        ("confidence", "5", 5),
        ("confidence", 4.5, "refused"),
        ("confidence", 6, "refused"),
        ("confidence", [3], "refused"),
        ("first_wrong_step", 2, 2),
        ("first_wrong_step", 0, "refused"),
        ("first_wrong_step", float("inf"), "refused"),
    ],
)
def test_numbers_are_read_in_range_or_refused(study, tmp_path, field, value, read):
    path = tmp_path / "answers.json"
    judgment = {"item_id": study.slots[0][0], "answer": True, field: value}
    path.write_text(json.dumps({"study_id": study.protocol.study_id, "slot": 1, "judgments": [judgment]}))
    ((_, row),) = READERS["html"](study, path, None)
    if read == "refused":
        assert isinstance(row, Refusal) and row.reason.startswith(field)
    else:
        assert isinstance(row, Judgment) and getattr(row, field) == read
