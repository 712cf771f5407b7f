"""summary.json of a finished experiment."""

from __future__ import annotations

import json

from tests.weak_to_strong.world import check_estimate


def test_the_summary_has_every_student_and_analysis(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert {"weak", "ceiling", "students"} <= set(summary)
    for s in summary["students"]:
        assert {"objective", "teacher", "oversight", "sizes", "accuracy", "pgr"} <= set(s)
        check_estimate(s["pgr"])
        check_estimate(s["best"]["pgr"])
        assert 0 <= s["accuracy"]["low"] <= s["accuracy"]["value"] <= s["accuracy"]["high"] <= 1
        assert s["curve"][-1]["share"] == 1
        assert (len(s["curve"]) == 2) == (s["objective"] != "probe")
    combinations = {(s["objective"], s["teacher"], s["oversight"]) for s in summary["students"]}
    assert {
        ("xent", "bag", "debate"),
        ("xent", "boost", "none"),
        ("xent", "single", "check"),
        ("bootstrapping", "single", "none"),
    } <= combinations
    chains = {tuple(s["sizes"]["chain"]) for s in summary["students"] if s["objective"] == "bootstrapping"}
    assert chains == {("bytes", "mid", "big")} and summary["skipped"][0]["strong"] == "mid"
    assert summary["auto_aligner"]["drift"][0]["agreement_with_generation_0"] == 1
    assert [s["text"] for s in summary["game_teacher"]["sets"]] == ["base", "sneaky"]
    assert len(summary["in_context"]["rows"]) == 7 and all(0 <= r["auroc"] <= 1 for r in summary["in_context"]["rows"])
    assert summary["in_context"]["reading"] == "raw"  # lessons were given
    assert "one_jump_calibrated" in summary["auto_aligner"]
