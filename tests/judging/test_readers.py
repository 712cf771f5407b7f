"""What the tools export is read: every format, its bad rows, and files that are something else."""

from __future__ import annotations

import json
import shutil
import tracemalloc
import zipfile

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.judging.importing import import_judgments
from legibility.judging.readers import READERS, slot_of
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import COLUMNS, TABLE, Judgment, read_table
from legibility.judging.tool_rows import Remark
from legibility.judging.tool_text import MAX_UNPACKED
from tests.fuzzing.judging import check_import, good_files, tool_files
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
        assert set(table.rater) == {"label-studio:anna@example.org"}  # by number and by address, one person
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
        *((tool, "[" * 200_000 + "\n") for tool in ("html", "label-studio", "argilla", "server")),
        *((tool, b"\xe9\n") for tool in ("html", "label-studio", "argilla", "doccano", "csv")),
        ("html", '{"study_id": [[]], "slot": 1, "judgments": []}'),
        ("doccano", b"PK\x05\x06" + bytes(18)),
        ("server", '{"event": "claim", "slot": 1, "token": "t", "visitor": [], "at": ""}\n'),
    ],
)
def test_files_of_another_format_are_one_line(study, tmp_path, tool, content):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = legibility("import", study.path, path, "--from", tool)
    assert str(path) in result.err or tool == "fax"
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
        ("seconds", "nan", "left out"),
        ("seconds", -1, "left out"),
        ("seconds", True, "left out"),
        ("confidence", 4.0, 4),
        ("confidence", "5", 5),
        ("confidence", "4.0", 4),
        ("confidence", "4,0", 4),
        ("seconds", "12,5", 12.5),
        ("seconds", "1,234", "left out"),
        ("first_wrong_step", "2.0", 2),
        ("first_wrong_step", 99, "left out"),
        ("confidence", 4.5, "left out"),
        ("confidence", 6, "left out"),
        ("confidence", [3], "left out"),
        ("first_wrong_step", 2, 2),
        ("first_wrong_step", 0, "left out"),
        ("first_wrong_step", float("inf"), "left out"),
    ],
)
def test_numbers_are_read_in_range_or_left_out(study, tmp_path, field, value, read):
    path = tmp_path / "answers.json"
    judgment = {"item_id": study.slots[0][0], "answer": True, field: value}
    path.write_text(json.dumps({"study_id": study.protocol.study_id, "slot": 1, "judgments": [judgment]}))
    *remarks, (_, row) = READERS["html"](study, path, None)
    assert isinstance(row, Judgment) and row.verdict is True  # an optional value never costs a judgment
    assert getattr(row, field) == (None if read == "left out" else read)
    if read == "left out":
        ((_, remark),) = remarks
        assert isinstance(remark, Remark) and remark.text.startswith(field) and remark.text.endswith("left out")
    else:
        assert not remarks


def test_a_form_of_a_slot_that_is_not_there_is_refused(study, tmp_path):
    path = form_file(study, tmp_path)
    for slot in (0, 3, True, "1", [], None):
        path.write_text(json.dumps({**json.loads(path.read_text()), "slot": slot}))
        assert "slot: not a number from 1 to 2" in legibility("import", study.path, path, "--from", "html").err


def test_the_logs_of_a_clock_that_was_set_back_keep_their_judgments(study):
    """As earlier versions acknowledged them: seconds below zero, and a line that the solution does not have."""
    item = study.slots[0][0]
    claim = {
        "event": "claim",
        "slot": 1,
        "token": "t",
        "visitor": {"PROLIFIC_PID": "=1+1"},
        "at": "2026-01-01T00:00:00+00:00",
    }
    judgment = {
        "event": "judgment", "slot": 1, "token": "t", "item_id": item, "answer": False, "seconds": -3600.0,
        "timed_out": False, "confidence": 4, "first_wrong_step": 77, "started_at": "", "finished_at": "", "at": "",
    }  # fmt: skip
    (study.path / "server.jsonl").write_text(json.dumps(claim) + "\n" + (json.dumps(judgment) + "\n") * 13)
    result = legibility("import", study.path, study.path / "server.jsonl", "--from", "server")
    assert result.out.count("1 judgments added, 0 known already, 0 refused") == 1
    assert "seconds '-3600.0'" in result.err and "first_wrong_step '77'" in result.err
    row = read_table(study.path / TABLE).iloc[0]
    assert (row.item_id, bool(row.verdict), row.confidence) == (item, False, 4)
    assert pd.isna(row.seconds) and pd.isna(row.first_wrong_step)
    assert row.participant == "'=1+1"  # no formula for a spreadsheet


@pytest.mark.parametrize("separator, spoil", [(";", ""), ("\t", ""), (",", ","), (",", ",,")])
def test_sheets_of_other_spreadsheets(study, tmp_path, separator, spoil):
    items, path = study.slots[0], tmp_path / "sheet.csv"
    lines = [
        ["item_id", "rater", "answer", "seconds", "timed_out"],
        [items[0], "anna", "TRUE", "3", "TRUE"],
        [items[1], "anna", "FALSE"],
    ]
    path.write_text(
        "".join(separator.join(cells) + spoil * (k == 1) + "\r\n" for k, cells in enumerate(lines)),
        "utf-8-sig",
        newline="",
    )
    assert import_judgments(study, path, "csv").added == 2
    assert read_table(study.path / TABLE).timed_out.tolist() == [True, False]


def test_nobody_is_not_one_rater(study, tmp_path):
    """Deleted and unknown annotators: refused without --rater, and with it not two of one item."""
    item, other = study.slots[0][:2]
    answered = [{"from_name": "answer", "value": {"choices": ["True"]}}]
    annotation = {"completed_by": None, "result": answered}
    files = {
        "label-studio": [{"data": {"item_id": i}, "annotations": [annotation] * n} for i, n in ((item, 2), (other, 1))],
        "argilla": [
            {"id": i, "responses": {"answer": [{"value": "True", "user_id": None}]}} for i in (item, item, other)
        ],
        "label-studio min": [{"item_id": i, "answer": "True", "annotator": "None"} for i in (item, item, other)],
    }
    for tool, content in files.items():
        path = tmp_path / "export.json"
        path.write_text(json.dumps(content))
        source = tool.split()[0]
        done = import_judgments(study, path, source)
        assert done.added == 0 and len(done.refused) == 3 and "--rater" in done.refused[0].reason, tool
        done = import_judgments(study, path, source, rater=f"anna {tool}")
        assert done.added == 2 and len(done.refused) == 1 and "someone without a name" in done.refused[0].reason, tool
    (tmp_path / "all.jsonl").write_text(json.dumps({"label": ["True"], "item_id": item}) + "\n")
    assert "--rater" in import_judgments(study, tmp_path / "all.jsonl", "doccano").refused[0].reason


def test_responses_that_were_not_submitted_are_left_out_or_pointed_out(study, tmp_path):
    items, path = study.slots[0], tmp_path / "records.json"

    def write(*statuses: str | None) -> None:
        answers = [
            {"value": "True", "user_id": "u", "status": s} if s else {"value": "True", "user_id": "u"} for s in statuses
        ]
        path.write_text(
            json.dumps([{"id": i, "responses": {"answer": [a]}} for i, a in zip(items, answers, strict=False)])
        )

    write("submitted", "draft", "discarded")
    done = import_judgments(study, path, "argilla")
    assert (done.added, done.remarks, done.refused) == (1, [], [])
    write("submitted", None, None)
    (remark,) = import_judgments(study, path, "argilla").remarks
    assert remark.text.startswith("2 responses do not say whether they were submitted")


@pytest.fixture(scope="module")
def good(exported, tmp_path_factory):
    return good_files(exported, tmp_path_factory.mktemp("good"))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_the_file_it_is_taken_or_refused_in_one_line(exported, good, tmp_path_factory, data):
    tool, content = data.draw(tool_files(good))
    fuzzed = tmp_path_factory.getbasetemp() / "fuzzed"
    if not fuzzed.exists():
        shutil.copytree(exported.path, fuzzed)
    check_import(StudyFolder.open(fuzzed), tmp_path_factory.getbasetemp(), tool, content)


def fill(study, slot: int, path, order=None, rows: int | None = None, rater: str = ""):
    """The sheet of a slot with nothing but `answer` filled in, as a spreadsheet saves it."""
    sheet = pd.read_csv(study.path / f"formats/csv/slot-{slot:02d}.csv", dtype=str, keep_default_na=False)
    sheet["answer"] = "TRUE"
    sheet["rater"] = rater
    sheet.sort_values(order or "answer", kind="stable").head(rows).to_csv(path, index=False)
    return path


def test_a_sheet_with_answers_alone_is_its_slots(study, tmp_path):
    done = import_judgments(study, fill(study, 2, tmp_path / "back (1).csv"), "csv")
    assert (done.added, done.refused) == (10, []) and "slot 2" in done.remarks[0].text
    assert set(read_table(study.path / TABLE).rater) == {"csv:slot-2"}
    result = legibility(
        "import", study.path, fill(study, 1, tmp_path / "x.csv", order="item_id", rows=9), "--from", "csv"
    )
    assert result.code == 0 and "9 judgments added" in result.out and "slot 1" in result.err
    assert import_judgments(study, tmp_path / "x.csv", "csv", rater="anna").added == 9
    assert set(read_table(study.path / TABLE).rater) == {"csv:slot-1", "csv:slot-2", "csv:anna"}


def test_whose_a_sheet_is_may_stay_open(study, tmp_path):
    """Two slots with the same items: their order tells them apart, then the file's name, then nothing does."""
    study.slots = [study.slots[0], study.slots[0][::-1]]
    sheet, reverse = study.slots
    checks = {
        tuple(sheet): ("a", 1),
        tuple(reverse): ("a", 2),
        tuple(sorted(sheet)): ("a", None),
        tuple(sorted(reverse)): ("slot-02 (1)", 2),
        (): ("slot-02", None),
        ("nothing", *sheet): ("a", 1),
    }
    for ids, (name, slot) in checks.items():
        assert slot_of(ids, study, tmp_path / f"{name}.csv") == slot, name
    sorted_sheet = fill(study, 1, tmp_path / "b.csv", order="item_id")
    refused = import_judgments(study, sorted_sheet, "csv").refused
    assert len(refused) == 10 and "--rater" in refused[0].reason
    both = fill(study, 1, tmp_path / "slot-01.csv", rater="anna")
    assert import_judgments(study, both, "csv").added == 10
    assert set(read_table(study.path / TABLE).rater) == {"csv:anna"}
