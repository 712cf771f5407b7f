"""Judgments joined with the key: repeated problems and late answers."""

from __future__ import annotations

import pytest

from legibility.judging.analysis import analyze
from legibility.judging.joined_table import joined_table
from legibility.judging.protocol import AnalysisRules, Exclusion
from legibility.judging.table import Judgment, to_frame
from tests.judging.world import RULES, made_up_study


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "analysis: {bootstrap: 200}\n", raters=8)


def test_a_problem_seen_twice_counts_once_and_late_answers_follow_the_rule(study):
    key = study.key()
    items = key[key.kind == "study"]
    twice = items.index[items.problem_id == items.problem_id.value_counts().index[0]][:2]
    rows = [
        Judgment(i, "csv:anna", True, 5.0, timed_out=k == 1, tool="csv")
        for k, i in enumerate([*twice, items.index[items.problem_id != items.problem_id[twice[0]]][0]])
    ]
    table = to_frame(rows)
    assert len(joined_table(table, key, RULES)) == 2
    assert len(joined_table(table, key, AnalysisRules(timed_out="drop"))) == 2  # the late one was the repeat
    lenient = study.protocol.model_copy(update={"exclusion": Exclusion(chance_alpha=None)})
    study.protocol = lenient
    found = analyze(study, table)
    assert found.judgments.dropped_repeats == 1 and found.judgments.analysed == 2
