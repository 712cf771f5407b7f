"""The table of analyses: which are wanted, what they need, and where their result stands."""

from __future__ import annotations

from legibility.weak_to_strong.analyses.registry import ANALYSES, wanted
from legibility.weak_to_strong.experiment_schema import ExperimentSummary
from legibility.weak_to_strong.experiment_settings import ExperimentSettings


def settings(**changes) -> ExperimentSettings:
    models = {name: {"model": "nano-xs"} for name in "ab"}
    return ExperimentSettings.model_validate({"models": models, "grid": [{"weak": ["a"], "strong": ["b"]}], **changes})


def test_an_analysis_is_wanted_where_its_section_is_there():
    assert wanted(settings()) == []
    assert wanted(settings(generation={}, in_context={"model": "x", "weak": "a"})) == ["in_context", "generation"]


def test_analyses_say_which_weak_model_they_read():
    some = settings(auto_aligner={"generations": ["a", "b"]}, in_context={"model": "x", "weak": "b"})
    assert {name: analysis.weak(some) for name, analysis in ANALYSES.items()} == {
        "auto_aligner": "a",
        "in_context": "b",
        "game_teacher": None,
        "generation": None,
    }
    assert {analysis.weak(settings()) for analysis in ANALYSES.values()} == {None}


def test_every_analysis_is_a_section_of_settings_and_summary():
    assert set(ANALYSES) <= set(ExperimentSettings.model_fields) & set(ExperimentSummary.model_fields)
