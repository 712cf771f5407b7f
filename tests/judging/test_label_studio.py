"""Label Studio's odd cases: offsets in UTF-16 units, relations, drafts, nothing at all."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.judging.importing import import_judgments
from legibility.judging.label_studio import marked_line
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE, read_table
from tests.judging.world import made_up_study

SOLUTION = "🙂🙂🙂🙂 four\n2 + 2 = 5\n#### 5"
SECOND = SOLUTION.index("2 + 2")  # in characters; in UTF-16 units four more


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(tmp_path_factory.mktemp("ls") / "study", raters=2, per_rater=8, attention=2)


@pytest.fixture
def study(exported, tmp_path):
    return StudyFolder.open(shutil.copytree(exported.path, tmp_path / "study"))


def imported(study, tmp_path, tasks):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    return import_judgments(study, path, "label-studio")


def answered(*more):
    return [{"from_name": "answer", "type": "choices", "value": {"choices": ["False"]}}, *more]


def test_an_emoji_before_a_mark_does_not_move_the_line():
    assert marked_line(SOLUTION, SECOND + 4) == 2  # as the browser counts
    assert marked_line(SOLUTION, SECOND + 4, "2 + 2") == 2
    assert marked_line(SOLUTION, SECOND, "2 + 2") == 2  # as a program counts that has Unicode's characters
    assert marked_line(SOLUTION, SECOND) == 1
    assert marked_line("a\nb", 0) == 1 and marked_line("a\nb", 3) == 2
    for start in (-1, 99, True):
        with pytest.raises(ValueError, match="outside"):
            marked_line(SOLUTION, start)


def test_marks_of_both_exports_become_lines(study, tmp_path):
    first, second = study.slots[0][:2]
    regions, minimal_marks = [], []
    for item, found in ((first, regions), (second, minimal_marks)):
        start = study.items[item].solution.index("\n") + 1
        found += [{"start": start, "end": start + 1, "labels": ["First wrong step"]}, {"start": 0, "labels": ["Else"]}]
    result = answered(*({"from_name": "first_wrong_step", "type": "labels", "value": v} for v in regions))
    full = {"data": {"item_id": first}, "annotations": [{"completed_by": 3, "result": result}]}
    assert imported(study, tmp_path, [full]).added == 1
    minimal = {"item_id": second, "answer": {"choices": ["False"]}, "annotator": 3, "first_wrong_step": minimal_marks}
    assert imported(study, tmp_path, [minimal]).added == 1
    assert read_table(study.path / TABLE).first_wrong_step.tolist() == [2, 2]


def test_relations_and_marks_that_cannot_be_read_cost_no_judgment(study, tmp_path):
    relation = {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"}
    broken = [
        {"from_name": "first_wrong_step", "value": {"start": "?", "labels": ["First wrong step"]}},
        {"from_name": "first_wrong_step", "value": {"start": 10**9, "labels": ["First wrong step"]}},
        {"from_name": "first_wrong_step", "value": 3},
        {"from_name": "confidence"},
        {"from_name": "something of the organisers"},
        7,
    ]
    items = study.slots[0]
    tasks = [
        {"data": {"item_id": i}, "annotations": [{"completed_by": 1, "result": answered(region)}]}
        for i, region in zip(items, [relation, *broken], strict=False)
    ]
    done = imported(study, tmp_path, tasks)
    assert done.added == 7 and not done.refused
    assert [r.where.split()[1] for r in done.remarks] == ["2", "3", "4", "5"]
    assert read_table(study.path / TABLE).first_wrong_step.isna().all()


def test_tasks_without_annotations_and_drafts_hold_nothing(study, tmp_path):
    one, two, three, four = ({"data": {"item_id": i}} for i in study.slots[0][:4])
    draft = {"completed_by": 1, "result": answered()}
    tasks = [
        {**one, "annotations": None, "drafts": [draft]},
        {**two, "annotations": []},
        {**three, "annotations": [{**draft, "draft": True}]},
        {**four, "annotations": {"a": 1}},
    ]
    done = imported(study, tmp_path, tasks)
    assert done.added == 0 and not (study.path / TABLE).exists()
    assert [r.reason for r in done.refused] == ["annotations is not a list"]
    assert [r.text for r in done.remarks] == ["1 drafts that were never submitted; left out"]


def test_two_different_answers_in_one_annotation_are_none(study, tmp_path):
    both = answered({"from_name": "answer", "value": {"choices": ["True"]}})
    task = {"data": {"item_id": study.slots[0][0]}, "annotations": [{"completed_by": 1, "result": both}]}
    assert imported(study, tmp_path, [task]).refused[0].reason == "two different answers in its result"
