"""What the tools export comes back: every format, every refusal named, twice is once."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import pandas as pd
import pytest

from legibility.judging.formats import label_studio_config
from legibility.judging.importing import import_judgments
from legibility.judging.table import COLUMNS, TABLE, read_table
from tests.judging.world import made_up_study
from tests.support import legibility


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("import") / "study", raters=2, per_rater=8, attention=2)


@pytest.fixture
def study(exported, tmp_path):
    import shutil

    from legibility.judging.study_folder import Study

    return Study.open(shutil.copytree(exported.path, tmp_path / "study"))


def said(study, slot: int = 0) -> dict[str, bool]:
    """Some answers to a slot's items."""
    return {item: k % 3 != 0 for k, item in enumerate(study.slots[slot])}


def csv_sheet(study, folder, slot=0):
    rows = list(
        csv.DictReader(io.StringIO((study.path / f"formats/csv/slot-{slot + 1:02d}.csv").read_text(), newline=""))
    )
    answers = said(study, slot)
    for k, row in enumerate(rows):
        row.update(
            rater=f"anna {slot}",
            answer="True" if answers[row["item_id"]] else "false",
            seconds="12.5",
            confidence="" if k else "5",
            first_wrong_step="" if k else "1",
        )
    path = folder / f"sheet-{slot}.csv"
    with open(path, "w", newline="", encoding="utf-8-sig") as out:  # as a spreadsheet saves it
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def label_studio_file(study, folder, slot=0):
    """The JSON export of Label Studio 1.x: tasks of the import file, annotations as its docs describe them."""
    tasks = json.loads((study.path / f"formats/label-studio/slot-{slot + 1:02d}.json").read_text())
    for k, task in enumerate(tasks, start=1):
        solution = task["data"]["solution"]
        answer = said(study, slot)[task["data"]["item_id"]]
        result = [
            {
                "id": f"r{k}",
                "from_name": "answer",
                "to_name": "solution",
                "type": "choices",
                "origin": "manual",
                "value": {"choices": [str(answer)]},
            }
        ]
        if k == 1:
            start = solution.index("\n") + 1
            result += [
                {
                    "id": "c",
                    "from_name": "confidence",
                    "to_name": "solution",
                    "type": "rating",
                    "origin": "manual",
                    "value": {"rating": 4},
                },
                {
                    "id": "w",
                    "from_name": "first_wrong_step",
                    "to_name": "solution",
                    "type": "labels",
                    "origin": "manual",
                    "value": {
                        "start": start,
                        "end": start + 2,
                        "text": solution[start : start + 2],
                        "labels": ["First wrong step"],
                    },
                },
            ]
        annotation = {
            "id": 100 + k,
            "completed_by": {"id": 7, "email": "anna@example.org"} if k % 2 else 7,
            "result": result,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2024-05-02T10:00:00.000000Z",
            "updated_at": "2024-05-02T10:00:30.000000Z",
            "lead_time": 20.5,
            "task": k,
        }
        task.update(id=k, annotations=[annotation], predictions=[], file_upload="x.json", drafts=[], meta={}, project=1)
    tasks[1]["annotations"].append({**tasks[1]["annotations"][0], "id": 999, "was_cancelled": True, "result": []})
    path = folder / "project-1.json"
    path.write_text(json.dumps(tasks))
    return path


def label_studio_min_file(study, folder):
    tasks = json.loads((study.path / "formats/label-studio/slot-01.json").read_text())
    rows = [
        {
            **t["data"],
            "id": k,
            "answer": str(said(study)[t["data"]["item_id"]]),
            "annotator": 3,
            "annotation_id": k,
            "lead_time": 8.1,
            "created_at": "2024-05-02T10:00:00Z",
            "updated_at": "2024-05-02T10:00:08Z",
        }
        for k, t in enumerate(tasks, 1)
    ]
    path = folder / "project-1-min.json"
    path.write_text(json.dumps(rows))
    return path


def doccano_file(study, folder, key="label"):
    """doccano's zip for projects without shared annotation: one <user>.jsonl per member, unlabelled examples with []."""
    lines = [json.loads(line) for line in (study.path / "formats/doccano/slot-01.jsonl").read_text().splitlines()]
    done = [
        {"id": k, "text": x["text"], key: [str(said(study)[x["item_id"]])], "Comments": [], "item_id": x["item_id"]}
        for k, x in enumerate(lines, 1)
    ]
    idle = [{**d, key: []} for d in done]
    path = folder / "doccano.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("anna.jsonl", "\n".join(map(json.dumps, done)) + "\n")
        archive.writestr("ben.jsonl", "\n".join(map(json.dumps, idle)) + "\n")
    return path


def argilla_file(study, folder):
    """Argilla 2 `dataset.records.to_json`: responses by question, each with its user and status."""
    records = json.loads((study.path / "formats/argilla/slot-01.json").read_text())
    user = "6fbe06f6-ca1e-4a48-bd3a-509e8dcfa7da"
    for record in records:
        record["responses"] = {
            "answer": [{"value": str(said(study)[record["id"]]), "user_id": user}],
            "confidence": [{"value": 2, "user_id": user}],
            "first_wrong_step": [{"value": "1", "user_id": user}],
        }
        record.update(status="completed", _server_id="x")
    path = folder / "records.json"
    path.write_text(json.dumps(records))
    return path


def form_file(study, folder, slot=0):
    """What the form's Save button writes."""
    judgments = [
        {
            "item_id": i,
            "answer": a,
            "seconds": 3.2,
            "timed_out": False,
            "confidence": 1,
            "first_wrong_step": None,
            "started_at": "2024-05-02T10:00:00.000Z",
            "finished_at": "2024-05-02T10:00:03.200Z",
        }
        for i, a in said(study, slot).items()
    ]
    path = folder / "answers-1.json"
    path.write_text(
        json.dumps({"study_id": study.protocol.study_id, "slot": slot + 1, "shown": {}, "judgments": judgments})
    )
    return path


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


# ---------------------------------------------------------------- bad rows


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
