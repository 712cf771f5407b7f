"""results.json: its keys, and the names two of them had before."""

from __future__ import annotations

from legibility.judging.results_schema import JudgeAgreement, JudgmentCounts, StudyResults
from legibility.stored import Interval


def test_results_keep_the_keys_of_the_file_and_are_read_under_earlier_ones():
    found = StudyResults(
        simulated=True,
        study_id="abc",
        run="tiny",
        confidence_level=0.9,
        judgments=JudgmentCounts(table=3, dropped_late=0, dropped_repeats=1, attention=0, analysed=2),
        raters=[],
        raters_kept=1,
        conditions=[],
        differences=[],
        length_matched={"coverage": 0.0, "conditions": []},
        krippendorff_alpha=None,
        mixed_model=None,
        verifiers={"people": JudgeAgreement(auroc_truth=Interval(value=float("nan")))},
        by_confidence=[],
        first_wrong_step={"marked": 0, "share_right": None},
    )
    stored = found.model_dump()
    assert list(stored) == [
        "schema",
        "simulated",
        "study_id",
        "run",
        "confidence_level",
        "judgments",
        "raters",
        "raters_kept",
        "conditions",
        "differences",
        "length_matched",
        "krippendorff_alpha",
        "mixed_model",
        "verifiers",
        "by_confidence",
        "first_wrong_step",
    ]
    assert stored["schema"] == 1 and stored["confidence_level"] == 0.9
    assert stored["verifiers"]["people"]["auroc_truth"] == {"value": None, "low": None, "high": None}
    assert StudyResults.model_validate(stored) == found
    earlier = {**stored, "confidence": stored["confidence_level"], "confidence_levels": stored["by_confidence"]}
    del earlier["confidence_level"], earlier["by_confidence"]
    assert StudyResults.model_validate(earlier) == found
