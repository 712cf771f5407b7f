"""Every student of an experiment in a row of its own: accuracy between the weak model's and the ceiling's, and PGR."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from legibility.reporting.drawing import LIGHT, Theme, or_nan, share_axis, themed
from legibility.stored import Interval
from legibility.weak_to_strong.experiment_schema import CeilingEntry, ExperimentSummary, StudentEntry, WeakEntry
from legibility.weak_to_strong.experiment_settings import ALONE, SINGLE

PGR_SHOWN = -1.0, 2.5
"""PGR beyond is not drawn where it is; an arrow at the edge says that it goes on there."""


def students_figure(summary: ExperimentSummary, theme: Theme = LIGHT) -> Figure:
    """Left: test accuracy of every student with its interval, between its weak model and its ceiling. Right: PGR."""
    students = summary.students
    with themed(theme):
        figure = Figure(figsize=(9.6, 1.3 + 0.3 * max(3, len(students))), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for y, student in enumerate(students):
            _between(left, y, student, summary, theme)
            colour = theme.helpful if student.plain else theme.text
            _estimate(left, y, student.accuracy, colour, (0.0, 1.0))
            if student.pgr.value is None:
                right.annotate("no gap to recover", (0.5, y), ha="center", va="center", fontsize=8, color=theme.muted)
            else:
                _estimate(right, y, student.pgr, colour, PGR_SHOWN)
        known = [x for s in students for x in (s.accuracy.low, s.accuracy.high, s.accuracy.value) if x is not None]
        known += [or_nan(w.accuracy.value) for w in summary.weak] + [or_nan(c.accuracy.value) for c in summary.ceiling]
        share_axis(left.xaxis, known)
        left.set_yticks(range(len(students)), [row_name(s, students) for s in students])
        left.set_ylim(len(students) - 0.5, -0.5)
        left.set_title("test accuracy", loc="left")
        right.set_title("gap recovered (PGR)", loc="left")
        right.set_xlim(PGR_SHOWN[0] - 0.12, PGR_SHOWN[1] + 0.12)
        right.set_xticks([-1, 0, 1, 2])
        for level in (0, 1):
            right.axvline(level, color=theme.muted, linewidth=0.9, linestyle=(0, (3, 2)))
        for ax in (left, right):
            ax.grid(True, axis="x")
            ax.grid(False, axis="y")
        return figure


def row_name(student: StudentEntry, among: Sequence[StudentEntry]) -> str:
    """What tells a student from the others of an experiment: who taught whom where that differs, objective, help."""
    pairs = {s.pair for s in among}
    parts = [" → ".join(student.sizes.chain)] if len(pairs) > 1 or len(student.sizes.chain) > 2 else []
    if student.plain or student.objective != "xent":
        parts.append(student.objective)
    parts += [student.teacher] if student.teacher != SINGLE else []
    parts += [student.oversight] if student.oversight != ALONE else []
    return ", ".join(parts)


def _between(ax: Axes, y: int, student: StudentEntry, summary: ExperimentSummary, theme: Theme) -> None:
    """The plain weak model's accuracy and the ceiling's: a bar from one to the other behind the student."""
    weak, ceiling = _plain_weak(student, summary.weak), _ceiling(student, summary.ceiling)
    if weak is not None and ceiling is not None:
        ax.plot([weak, ceiling], [y, y], color=theme.grid, linewidth=9, solid_capstyle="butt", zorder=0)
    for value, colour in ((weak, theme.sneaky), (ceiling, theme.correctness)):
        if value is not None:
            ax.plot([value, value], [y - 0.36, y + 0.36], color=colour, linewidth=2, zorder=1)


def _plain_weak(student: StudentEntry, weak: Sequence[WeakEntry]) -> float | None:
    found = (w.accuracy.value for w in weak if (w.model, w.teacher, w.oversight) == (student.sizes.weak, SINGLE, ALONE))
    return next(found, None)


def _ceiling(student: StudentEntry, ceilings: Sequence[CeilingEntry]) -> float | None:
    objective = "probe" if student.objective == "probe" else "xent"
    found = (c.accuracy.value for c in ceilings if (c.model, c.objective) == (student.sizes.strong, objective))
    return next(found, None)


def _estimate(ax: Axes, y: int, estimate: Interval, colour: str, shown: tuple[float, float]) -> None:
    """A dot with its interval; what lies outside of `shown` ends in an arrow at the edge."""
    low, high = shown
    if estimate.low is not None and estimate.high is not None:
        ends = [min(max(x, low), high) for x in (estimate.low, estimate.high)]
        ax.plot(ends, [y, y], color=colour, linewidth=1.6, alpha=0.6, zorder=2)
        for end, beyond, marker in ((ends[0], estimate.low < low, "<"), (ends[1], estimate.high > high, ">")):
            if beyond:
                ax.plot(end, y, marker, color=colour, markersize=5, zorder=3)
    if estimate.value is not None and low <= estimate.value <= high:
        ax.plot(estimate.value, y, "o", color=colour, markersize=5.5, zorder=4)
