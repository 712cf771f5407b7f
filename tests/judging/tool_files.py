"""Files as other tools export them: a study's items, answered."""

from __future__ import annotations

import csv
import io
import json
import zipfile


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
