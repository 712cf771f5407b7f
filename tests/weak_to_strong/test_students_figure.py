"""A row for every student: where it stands between weak model and ceiling, and what lies beyond the edge."""

from __future__ import annotations

import pytest

from legibility.weak_to_strong.experiment_schema import ExperimentSummary, read_summary
from legibility.weak_to_strong.pgr import PgrEstimate
from legibility.weak_to_strong.students_figure import PGR_SHOWN, row_name, students_figure


@pytest.fixture(scope="module")
def summary(finished) -> ExperimentSummary:
    return read_summary(finished)


def with_pgr(summary: ExperimentSummary, estimate: PgrEstimate) -> ExperimentSummary:
    students = [s.model_copy(update={"pgr": estimate}) for s in summary.students]
    return summary.model_copy(update={"students": students})


def test_every_student_has_a_row_of_its_own_name(summary):
    left, _ = students_figure(summary).axes
    names = [t.get_text() for t in left.get_yticklabels()]
    assert len(names) == len(summary.students) and len(set(names)) == len(names)
    dots = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "o"]
    assert dots == [s.accuracy.value for s in summary.students]


def test_an_interval_beyond_the_edge_ends_in_an_arrow(summary):
    _, right = students_figure(with_pgr(summary, PgrEstimate(value=1.2, low=-3.0, high=9.0))).axes
    low, high = PGR_SHOWN
    arrows = {(line.get_marker(), float(line.get_xdata()[0])) for line in right.lines if line.get_marker() in "<>"}
    assert arrows == {("<", low), (">", high)}
    drawn = [x for line in right.lines for x in line.get_xdata()]
    assert min(drawn) >= right.get_xlim()[0] and max(drawn) <= right.get_xlim()[1]


def test_no_gap_is_said_and_not_drawn(summary):
    _, right = students_figure(with_pgr(summary, PgrEstimate(undefined="no gap"))).axes
    assert [t.get_text() for t in right.texts] == ["no gap to recover"] * len(summary.students)


def test_a_row_names_what_tells_it_apart(summary):
    plain = next(s for s in summary.students if s.plain and s.objective == "xent")
    assert row_name(plain, [plain]) == "xent"
    other = plain.model_copy(update={"teacher": "bagging"})
    assert row_name(other, [plain, other]) == "bagging"
    elsewhere = plain.model_copy(
        update={"sizes": plain.sizes.model_copy(update={"strong": "x", "chain": ["bytes", "x"]})}
    )
    assert row_name(elsewhere, [plain, elsewhere]) == "bytes → x, xent"
