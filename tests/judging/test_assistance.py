"""Assisted checking: what is shaded, for whom, and that it tells nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.judging.assistance import assign_assisted, marks_of
from legibility.judging.candidates import reference_candidates, run_candidates
from legibility.judging.importing import import_judgments
from legibility.judging.store import LOG
from legibility.judging.study_folder import DOUBTS, StudyFolder
from legibility.judging.study_schema import ATTENTION
from legibility.judging.table import TABLE, read_table
from legibility.models.verifier import Explanation, TokenShare
from tests.judging.tool_files import csv_sheet
from tests.judging.world import Client, judge_all, made_up_candidates, made_up_study, serving
from tests.support import legibility


@pytest.fixture(scope="module")
def assisted(tmp_path_factory):
    """Read only."""
    return made_up_study(
        tmp_path_factory.mktemp("assisted") / "study",
        candidates=made_up_candidates(120),
        per_condition=40,
        raters=8,
        per_rater=40,
        assisted="item",
        doubts_of=1,
    )


def test_marks_are_against_the_most_doubted_token_and_neighbours_are_one():
    shares = [(0, 2, -0.1), (2, 4, -3.0), (4, 5, -2.5), (5, 6, 1.0), (6, 9, -1.2), (9, 9, -2.0)]
    found = marks_of(Explanation(0.0, 0.0, [TokenShare("", a, b, share) for a, b, share in shares]))
    # 0.1 of 3 is too little to show; 3 and 2.5 are both dark; the token after the text has no characters
    assert [(m.start, m.end, m.level) for m in found] == [(2, 5, 3), (6, 9, 2)]
    assert marks_of(Explanation(1.0, 0.0, [TokenShare("", 0, 2, 1.0)])) == []


def test_half_of_every_raters_items_and_every_item_for_half_of_its_raters(assisted):
    key = assisted.key()
    shown = Counter(i for slot in assisted.assisted for i in slot)
    judged = Counter(i for slot in assisted.slots for i in slot)
    for slot, mine in zip(assisted.slots, assisted.assisted, strict=True):
        assert mine <= set(slot)
        for kind, label in ((k, c) for k in ("study", ATTENTION) for c in (True, False)):
            of_label = [i for i in slot if key.kind[i] == kind and key.correct[i] == label]
            assert sum(i in mine for i in of_label) * 2 == len(of_label)
    lead = {i: abs(2 * shown[i] - n) for i, n in judged.items()}
    assert max(lead.values()) <= 2 and np.mean(list(lead.values())) < 1
    cells = key[key.kind == "study"].groupby(["arm", "round", "role", "correct"]).groups
    for ids in cells.values():
        share = sum(shown[i] for i in ids) / sum(judged[i] for i in ids)
        assert 0.4 <= share <= 0.6


def test_by_rater_one_of_every_two_sees_all(assisted):
    lists = assign_assisted(assisted.key_entries(), assisted.slots, "rater", np.random.default_rng(0))
    for first, second in zip(lists[::2], lists[1::2], strict=True):
        assert sorted((len(first), len(second))) == [0, 44]


def test_the_blinded_files_tell_nothing_but_the_shading(assisted):
    """No truth, role, round, score or verifier; every item has a line, in an order of no meaning."""
    text = (assisted.path / DOUBTS).read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["item_id"] for line in lines] == list(assisted.items)
    assert {key for line in lines for key in line} == {"item_id", "marks"}
    assert {key for line in lines for m in line["marks"] for key in m} == {"start", "end", "level"}
    for name in (DOUBTS, "assignments.jsonl", "checksums.json"):
        assert not re.search(r"sneaky|helpful|correct|verifier|round|score|made-up", (assisted.path / name).read_text())
    assert assisted.provenance().adviser.round == 1 and assisted.provenance().assisted == "item"
    assert [p.name for p in (assisted.path / "formats").iterdir()] == ["form.html"]
    assert assisted.protocol.doubt_note in assisted.protocol.instructions
    assert "verifier 1 doubts is shown shaded" in (assisted.path / "DATASHEET.md").read_text()
    entry = next(e for e in assisted.key_entries() if e.kind == ATTENTION)
    assert any(assisted.doubts[entry.item_id])  # checks are shaded like the rest


def test_only_assisted_items_come_with_doubts_and_the_table_says_which(tmp_path):
    study = made_up_study(tmp_path / "study", assisted="item", raters=2, per_rater=8)
    with serving(study) as url:
        client = Client(url)
        client.start()
        shown = {}
        while not (item := client.show()).get("finished"):
            shown[item["item_id"]] = item.get("doubts")
            judge_all(client, 1)
    assert {i for i, doubts in shown.items() if doubts is not None} == study.assisted[0]
    for item_id in study.assisted[0]:
        assert shown[item_id] == [[m.start, m.end, m.level] for m in study.doubts[item_id]]
        spans = {study.items[item_id].solution[a:b] for a, b, _ in shown[item_id]}
        assert spans and all(span.isdigit() for span in spans)
    import_judgments(study, study.path / LOG, "server")
    table = read_table(study.path / TABLE)
    assert set(table.item_id[table.assisted]) == study.assisted[0] and len(table) == 12
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("item_id,answer\n")
    result = legibility("import", study.path, sheet, "--from", "csv")
    assert result.code == 2 and "assisted study" in result.err
    (study.path / DOUBTS).write_text("")
    with pytest.raises(UserError, match=r"doubts.jsonl: changed since the export"):
        StudyFolder.open(study.path)


def test_a_table_of_earlier_versions_is_read(tmp_path):
    study = made_up_study(tmp_path / "study", raters=2, per_rater=8, attention=2)
    path, _ = csv_sheet(study, tmp_path), None
    import_judgments(study, path, "csv")
    new = read_table(study.path / TABLE)
    lines = (study.path / TABLE).read_text().splitlines()
    assert lines[0].endswith(",assisted") and all(line.endswith(",False") for line in lines[1:])
    (study.path / TABLE).write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    assert read_table(study.path / TABLE).equals(new)


def test_what_has_no_doubts_to_show_is_said_before_anything_is_written(tmp_path, tiny_run):
    out = tmp_path / "study"
    with pytest.raises(UserError, match="--doubts-of 2: nobody is shown doubts"):
        made_up_study(out, doubts_of=2)
    with pytest.raises(UserError, match=r"--doubts-of 7: .* no verifier of that round; it has 0, 1"):
        run_candidates(tiny_run.path).adviser(7)
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "2 + 3?", "answer": "2 + 3 = 5\\n#### 5"}\n')
    with pytest.raises(UserError, match="no verifier comes with it"):
        reference_candidates(problems, 0).adviser(None)
    assert not out.exists()
