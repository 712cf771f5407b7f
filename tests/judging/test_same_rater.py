"""One person exported twice is one rater, or an error."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from legibility.errors import UserError
from legibility.judging.importing import import_judgments
from legibility.judging.same_rater import known_names
from legibility.judging.study_folder import StudyFolder
from legibility.judging.table import TABLE, Judgment, read_table, to_frame
from tests.judging.world import made_up_candidates, made_up_study


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return made_up_study(
        tmp_path_factory.mktemp("same") / "study", candidates=made_up_candidates(120), per_condition=40, raters=2, per_rater=36
    )  # fmt: skip


@pytest.fixture
def study(exported, tmp_path):
    return StudyFolder.open(shutil.copytree(exported.path, tmp_path / "study"))


def timed(study, path, who, count=5, *, offset=0.25, minimal=False):
    """A Label Studio export whose annotations have moments of their own."""
    rows = []
    for k, item in enumerate(study.slots[0][:count]):
        moments = {
            "created_at": f"2026-05-02T10:{k:02d}:{offset:06.3f}000Z",
            "updated_at": f"2026-05-02T10:{k:02d}:30.500000Z",
        }
        if minimal:
            rows.append({"item_id": item, "answer": "True", "annotator": who, **moments})
        else:
            result = [{"from_name": "answer", "value": {"choices": ["True"]}}]
            rows.append(
                {"data": {"item_id": item}, "annotations": [{"completed_by": who, "result": result, **moments}]}
            )
    path.write_text(json.dumps(rows))
    return path


def labelled(study, path, count, answers=lambda k: k % 3 != 0):
    lines = [json.dumps({"item_id": i, "label": [str(answers(k))]}) for k, i in enumerate(study.slots[0][:count])]
    path.write_text("\n".join(lines) + "\n")
    return path


def raters(study):
    return set(read_table(study.path / TABLE).rater)


def test_by_address_and_later_by_number_is_one_rater(study, tmp_path):
    """First the JSON export, which tells the address; then JSON-MIN, which tells a number, with two judgments more."""
    import_judgments(study, timed(study, tmp_path / "a.json", {"email": "anna@example.org"}), "label-studio")
    done = import_judgments(study, timed(study, tmp_path / "b.json", 7, count=7, minimal=True), "label-studio")
    assert (done.added, done.known) == (2, 5) and raters(study) == {"label-studio:anna@example.org"}
    assert [r.text for r in done.remarks] == [
        "label-studio:7 is label-studio:anna@example.org: the same judgments at the same moments"
    ]


def test_another_person_at_other_moments_is_another_rater(study, tmp_path):
    import_judgments(study, timed(study, tmp_path / "a.json", 7), "label-studio")
    done = import_judgments(study, timed(study, tmp_path / "b.json", 8, offset=1.5), "label-studio")
    assert (done.added, done.remarks) == (5, []) and raters(study) == {"label-studio:7", "label-studio:8"}


def test_two_raters_of_the_server_at_the_same_moments_are_two():
    """A slot is a person; two who answer within the same millisecond were taken for one, and lost judgments."""
    row = Judgment(
        rater="slot-1", item_id="q1", verdict=True, tool="server",
        started_at="2026-01-01T10:00:00.001+00:00", finished_at="2026-01-01T10:00:00.004+00:00",
    )  # fmt: skip
    other = replace(row, rater="slot-2")
    assert known_names(to_frame([]), [row, other]) == {}
    assert known_names(to_frame([row]), [other]) == {}
    abroad = [replace(r, tool="label-studio") for r in (row, other)]
    assert known_names(to_frame([]), abroad) == {"slot-2": "slot-1"}


def test_the_copy_that_a_browser_saves_is_the_same_persons(study, tmp_path):
    import_judgments(study, labelled(study, tmp_path / "anna.jsonl", 20), "doccano")
    for name in ("anna (1).jsonl", "anna(2).jsonl", "anna - Copy.jsonl", "anna copy 2.jsonl"):
        assert import_judgments(study, labelled(study, tmp_path / name, 20), "doccano").known == 20
    assert raters(study) == {"doccano:anna"}


@pytest.mark.parametrize("count, outcome", [(5, "two raters"), (12, "a remark"), (36, "an error")])
def test_equal_judgments_without_times(study, tmp_path, count, outcome):
    import_judgments(study, labelled(study, tmp_path / "anna.jsonl", count), "doccano")
    twin = labelled(study, tmp_path / "export.jsonl", count)
    if outcome == "an error":
        before = (study.path / TABLE).read_bytes()
        with pytest.raises(UserError, match="doccano:export and doccano:anna judged the same 36 items"):
            import_judgments(study, twin, "doccano")
        assert (study.path / TABLE).read_bytes() == before
        assert import_judgments(study, twin, "doccano", rater="ben").added == count  # whoever says so is believed
    else:
        done = import_judgments(study, twin, "doccano")
        assert done.added == count and bool(done.remarks) == (outcome == "a remark")


def test_one_different_answer_makes_two_people(study, tmp_path):
    import_judgments(study, labelled(study, tmp_path / "anna.jsonl", 36), "doccano")
    other = labelled(study, tmp_path / "ben.jsonl", 36, lambda k: k % 3 != 0 or k == 9)
    done = import_judgments(study, other, "doccano")
    assert (done.added, done.remarks) == (36, [])
