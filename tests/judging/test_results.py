"""The files of an analysis: tables, figures, a page."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from legibility.judging.results import by_name, errors_figure
from legibility.judging.results_schema import StudyResults
from legibility.stored import read_stored
from tests.browser import Browser
from tests.judging.world import made_up_study, pretend_people
from tests.support import legibility


@pytest.fixture
def study(tmp_path):
    return made_up_study(tmp_path / "study", "analysis: {bootstrap: 200}\n", raters=8)


def test_analysis_writes_tables_figures_and_a_page(study):
    pretend_people(study)
    result = legibility("analyze", study.path)
    assert result.code == 0, result.err
    folder = study.path / "analysis"
    results = json.loads((folder / "results.json").read_text())
    assert {c["label"] for c in results["conditions"]} >= {
        "start",
        "round 0 helpful",
        "round 1 sneaky",
        "correctness-only",
    }
    assert results["krippendorff_alpha"] is not None and set(results["verifiers"]) == {
        "verifier 0",
        "held_out_judge",
        "people",
    }
    assert results["first_wrong_step"]["share_right"] == 1 and results["by_confidence"][0]["confidence"] == 3
    table = pd.read_csv(folder / "conditions.csv")
    assert {"accuracy", "accuracy_low", "accuracy_high", "false_accept", "median_seconds"} <= set(table.columns)
    assert (folder / "figures/accuracy.png").read_bytes()[:4] == b"\x89PNG"
    page = (folder / "results.html").read_text()
    assert (
        "people as judges" in page
        and "Simulation" not in page
        and "<script" not in page
        and "http" not in page.replace("http-equiv", "")
    )
    again = legibility("analyze", study.path)
    assert again.code == 0 and json.loads((folder / "results.json").read_text()) == results


def test_nothing_sticks_out_of_the_page_at_any_width(study, browser: Browser):
    pretend_people(study)
    assert legibility("analyze", study.path).code == 0
    assert browser.faults(study.path / "analysis/results.html") == []


def test_conditions_have_one_name_and_raters_their_natural_order(study):
    pretend_people(study)
    assert legibility("analyze", study.path).code == 0
    page = (study.path / "analysis/results.html").read_text()
    assert "init:-1" not in page and "game:0" not in page  # the names that files have
    results = read_stored(study.path / "analysis/results.json", StudyResults, fix="-")
    raters = [results.raters[0].model_copy(update={"rater": name}) for name in ("r10", "r9", "guest", "r2")]
    assert [r.rater for r in by_name(raters)] == ["guest", "r2", "r9", "r10"]


def test_the_page_names_judges_for_people(study):
    pretend_people(study)
    assert legibility("analyze", study.path).code == 0
    page = (study.path / "analysis/results.html").read_text()
    assert "<td>held-out judge</td>" in page and "<td>verifier 0</td>" in page and "held_out_judge" not in page


def test_tick_labels_of_neighbouring_panels_keep_apart(study):
    pretend_people(study)
    assert legibility("analyze", study.path).code == 0
    results = read_stored(study.path / "analysis/results.json", StudyResults, fix="-")
    figure = errors_figure(results)
    figure.canvas.draw()
    left, right = (ax.get_xticklabels() for ax in figure.axes)
    last, first = left[-1].get_window_extent(), right[0].get_window_extent()
    assert (first.x0 - last.x1) / figure.dpi > 0.25  # inches
