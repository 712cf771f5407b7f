"""The blinded items for other tools: CSV, Label Studio, doccano, Argilla, and one self-contained HTML form.

Tools that hand every item to every rater would show a problem twice, so each gets one file per rater
slot, in that slot's order: one project (or one import) per rater. What comes back is read by
`importing`. Pre-filled answers are never written.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from legibility.judging.answer_values import CONFIDENCES
from legibility.judging.rater_page import disk_page
from legibility.judging.spreadsheet import inert
from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import StudyItem

WRONG_STEP = "First wrong step"


def write_formats(study: StudyFolder) -> None:
    """Write `formats/` into the study folder: of an assisted study the form alone, since other tools show no shading."""
    folder = study.path / "formats"
    folder.mkdir()
    (folder / "form.html").write_text(disk_page(study), encoding="utf-8", newline="\n")
    if study.doubts:
        return
    for name, suffix, write in (
        ("csv", "csv", csv_text),
        ("label-studio", "json", label_studio_tasks),
        ("doccano", "jsonl", doccano_lines),
        ("argilla", "json", argilla_records),
    ):
        (folder / name).mkdir()
        for slot, ids in enumerate(study.slots, start=1):
            text = write([study.items[i] for i in ids])
            (folder / name / f"slot-{slot:02d}.{suffix}").write_text(text, encoding="utf-8", newline="")
    config = label_studio_config(study.protocol.told)
    (folder / "label-studio" / "labeling-config.xml").write_text(config, encoding="utf-8")


def csv_text(items: Sequence[StudyItem]) -> str:
    """A sheet to fill in: answer (True or False), seconds, confidence (1 to 5), first_wrong_step (line number).

    Cells that a spreadsheet would run as a formula get an apostrophe in front.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["item_id", "problem", "solution", "rater", "answer", "seconds", "confidence", "first_wrong_step"])
    for item in items:
        writer.writerow([item.item_id, inert(item.problem), inert(item.solution), "", "", "", "", ""])
    return out.getvalue()


def label_studio_tasks(items: Sequence[StudyItem]) -> str:
    """Tasks whose `data` keys are the $names of the labelling config."""
    return _json([{"data": {"item_id": i.item_id, "problem": i.problem, "solution": i.solution}} for i in items])


def label_studio_config(instructions: Sequence[str]) -> str:
    """The XML of Label Studio's labelling interface, the instructions as headers."""
    lines = "\n".join(f'  <Header value={quoteattr(line)} size="5"/>' for line in instructions)
    return f"""<View>
{lines}
  <Header value="Problem"/>
  <Text name="problem" value="$problem"/>
  <Header value="Solution"/>
  <Labels name="first_wrong_step" toName="solution">
    <Label value="{WRONG_STEP}"/>
  </Labels>
  <Text name="solution" value="$solution"/>
  <Header value="Is the solution right?"/>
  <Choices name="answer" toName="solution" choice="single-radio" required="true">
    <Choice value="True" hotkey="t"/>
    <Choice value="False" hotkey="f"/>
  </Choices>
  <Rating name="confidence" toName="solution" maxRating="{CONFIDENCES}"/>
</View>
"""


def doccano_lines(items: Sequence[StudyItem]) -> str:
    """For a document classification project with the labels True and False; item_id comes back as metadata."""
    return "".join(
        json.dumps(
            {"text": f"Problem:\n{i.problem}\n\nSolution:\n{i.solution}", "label": [], "item_id": i.item_id},
            ensure_ascii=False,
        )
        + "\n"
        for i in items
    )


def argilla_records(items: Sequence[StudyItem]) -> str:
    """For `dataset.records.from_json` of Argilla 2; docs/judging.md has the settings that go with them."""
    return _json(
        [
            {
                "id": i.item_id,
                "fields": {"problem": i.problem, "solution": i.solution},
                "metadata": {},
                "suggestions": {},
                "responses": {},
                "vectors": {},
            }
            for i in items
        ]
    )


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"
