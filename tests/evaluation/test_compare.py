"""Runs merged over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from legibility.evaluation.groups import GroupComparison
from legibility.evaluation.merged_seeds import Comparison, merge, steps_by_seed
from legibility.stored import read_stored
from tests.evaluation.summaries import runs_by_seed, summary_of
from tests.support import legibility


@pytest.fixture
def seeds(tiny_run, tmp_path) -> list[Path]:
    return runs_by_seed(tiny_run, tmp_path)


def test_a_comparison_merges_runs_into_a_file_and_a_page(seeds, tmp_path):
    out = tmp_path / "compared"
    result = legibility("compare", *seeds, "--out", out)
    assert result.code == 0, result
    found = read_stored(out / "compare.json", Comparison, fix="-")
    assert found.seeds == [0, 1, 2] and found.settings_differ == []
    corner = found.figure("correctness_accuracy")
    assert corner.title == corner.label == "correctness-only accuracy" and corner.round is None
    assert corner.values == pytest.approx([0.6, 0.61, 0.62]) and corner.mean == pytest.approx(0.61)
    last = found.figure("helpful_accuracy", 1)
    assert last.title == "round 1: helpful accuracy" and last.values == pytest.approx([0.5, 0.52, 0.54])
    (test,) = (t for t in found.paired_tests if t.name == "accuracy_correctness_against_game")
    assert test.n == 3 and test.difference == pytest.approx(np.mean([0.1, 0.09, 0.08]))
    assert "quick" not in result.err
    page = (out / "compare.html").read_text()
    assert "seed 2" in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
    again = legibility("compare", *seeds, "--out", out)
    assert again.code == 2 and "exists already" in again.err


def test_a_comparison_that_was_killed_is_gone_on_with(seeds, tmp_path):
    out = tmp_path / "compared"
    assert legibility("compare", *seeds, "--out", out).code == 0
    whole = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (out / "compare.html").unlink()  # written last
    assert legibility("compare", *seeds, "--out", out).code == 0
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == whole
    (out / "compare.html").unlink()
    (out / "compare.json").write_text("{}")  # of something else
    result = legibility("compare", *seeds, "--out", out)
    assert result.code == 2 and "exists already" in result.err and (out / "compare.json").read_text() == "{}"


def test_runs_that_cannot_be_compared_are_one_line_and_leave_nothing(seeds, tmp_path):
    out = tmp_path / "compared"
    for arguments, part in (
        ((seeds[0],), "at least two"),
        ((seeds[0], seeds[0]), "same seed"),
        ((seeds[0], tmp_path / "none"), "no run folder"),
    ):
        result = legibility("compare", *arguments, "--out", out)
        assert result.code == 2 and part in result.err and result.err.count("\n") == 1, result
    (seeds[1] / "summary.json").unlink()
    result = legibility("compare", *seeds, "--out", out)
    assert result.code == 2 and "not finished" in result.err and not out.exists()


def test_runs_of_other_settings_are_another_group(seeds, tmp_path):
    config = seeds[1] / "config.yaml"
    config.write_text(config.read_text().replace("updates: 12", "updates: 13"))
    assert legibility("compare", *seeds, "--out", tmp_path / "out").code == 0
    found = read_stored(tmp_path / "out/compare.json", GroupComparison, fix="-")
    assert [(s.name, s.values) for s in found.settings] == [("verifier.updates", [12, 13])]
    assert [(g.name, g.seeds.runs) for g in found.groups] == [("A", ["seed-0", "seed-2"]), ("B", ["seed-1"])]
    page = (tmp_path / "out/compare.html").read_text()
    assert "2 groups of runs compared" in page and "verifier.updates" in page and "nothing is decided" in page


def test_runs_that_were_computed_in_other_ways_are_one_group(seeds, tmp_path):
    config = seeds[1] / "config.yaml"
    config.write_text(config.read_text().replace("threads: 1", "threads: 2"))
    assert legibility("compare", *seeds, "--out", tmp_path / "out").code == 0
    found = read_stored(tmp_path / "out/compare.json", Comparison, fix="-")
    assert found.settings_differ == ["compute.threads: 1 -> 2"] and found.seeds == [0, 1, 2]
    assert "differ in more than the seed" in (tmp_path / "out/compare.html").read_text()


def test_intervals_of_rates_stay_between_0_and_1():
    merged = merge([summary_of(0, game=0.02), summary_of(1, game=0.9)])
    found = merged.figure("helpful_accuracy", 1)
    assert (found.low, found.high) == (0, 1)
    assert merged.figure("legibility_tax").values == [0.1, 0.1]


def test_a_figure_is_told_by_name_round_and_verifier():
    merged = merge([summary_of(0), summary_of(1)])
    identities = [(f.name, f.round, f.verifier) for f in merged.figures]
    assert len(set(identities)) == len(identities) and len({f.title for f in merged.figures}) == len(identities)
    tests = [(t.name, t.round) for t in merged.paired_tests]
    assert len(set(tests)) == len(tests) and len({t.label for t in merged.paired_tests}) == len(tests)
    assert merged.rounds == [0, 1] and merged.figure("auroc_pooled", 0, 1).label == "AUROC pooled, verifier 1"
    with pytest.raises(KeyError, match="auroc_pooled"):
        merged.figure("auroc_pooled", 1, 2)


def test_steps_by_seed_show_what_was_never_fooled():
    merged = merge([summary_of(0, steps=(20, 21), length=21), summary_of(1, steps=(20, None), length=80)])
    assert steps_by_seed(merged, 1) == "21, > 80"


def test_quick_games_are_named_beside_the_page(seeds, tmp_path):
    summary = json.loads((seeds[1] / "summary.json").read_text())
    (seeds[1] / "summary.json").write_text(json.dumps({**summary, "quick": True}))
    result = legibility("compare", *seeds, "--out", tmp_path / "compared")
    assert result.code == 0 and "measure nothing: " + summary["run"] in result.err


def test_runs_go_by_their_folders_names_and_by_those_above_where_two_are_alike(tmp_path):
    from legibility.evaluation.compare import _names

    assert _names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert _names([tmp_path / "x/run", tmp_path / "y/run"]) == ["x/run", "y/run"]
