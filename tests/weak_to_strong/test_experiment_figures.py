"""Figures: what is drawn is what the summary says."""

from __future__ import annotations

import pytest

from legibility.weak_to_strong.experiment_figures import apart, curves_figure, drift_figure, figures, pgr_figure
from legibility.weak_to_strong.experiment_schema import ExperimentSummary, read_summary


@pytest.fixture(scope="module")
def summary(finished) -> ExperimentSummary:
    return read_summary(finished)


def test_accuracy_is_drawn_over_student_size(summary):
    left, right = pgr_figure(summary.students, summary.ceiling).axes
    plain = [s for s in summary.students if s.plain and s.objective == "xent"]
    line = left.get_lines()[0]
    assert list(line.get_xdata()) == sorted(s.sizes.strong_parameters for s in plain)
    assert list(line.get_ydata()) == [s.accuracy.value for s in sorted(plain, key=lambda s: s.sizes.strong_parameters)]
    defined = {s.objective for s in summary.students if s.plain and s.pgr.value is not None}
    shown = {text.get_text() for text in right.get_legend().get_texts()} if right.get_legend() else set()
    assert defined == {name for name in shown if not name.startswith("taught by")}


def test_curves_and_drift_are_the_summarys(summary):
    assert summary.auto_aligner is not None
    drift = [list(line.get_ydata()) for line in drift_figure(summary.auto_aligner).axes[0].get_lines()[:3]]
    points = summary.auto_aligner.drift
    assert drift == [
        [d.test_accuracy for d in points],
        [d.trusted_agreement for d in points],
        [d.agreement_with_generation_0 for d in points],
    ]
    first = curves_figure(summary).axes[0]
    student = next(s for s in summary.students if s.plain and s.objective == first.get_title())
    assert list(first.get_lines()[0].get_ydata()) == [p.true for p in student.curve]


def test_no_drift_without_an_auto_aligner(summary):
    every = {"students", "curves", "drift"}
    assert set(figures(summary)) == every
    assert set(figures(summary.model_copy(update={"auto_aligner": None}))) == every - {"drift"}


def test_one_student_size_has_no_figure_of_sizes(summary):
    """The quick form trains one student: a line over sizes would be a dot at the edge."""
    assert {s.sizes.strong for s in summary.students} == {"big"} and "pgr" not in figures(summary)
    first = summary.students[0]
    other = first.model_copy(update={"sizes": first.sizes.model_copy(update={"strong": "bigger", "ratio": 9.0})})
    assert "pgr" in figures(summary.model_copy(update={"students": [first, other]}))


def test_ticks_are_not_repeated(summary):
    """On a narrow axis whole percentages would say the same twice."""
    figure = curves_figure(summary)
    figure.draw_without_rendering()
    shown = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert len(set(shown)) == len(shown) > 1
    assert apart([1.0, 1.1, 1.3, 2.0]) == [1.0, 1.3, 2.0]
