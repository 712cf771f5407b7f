"""The experiment's figures: every student, sizes where there are several, training, the auto-aligner's drift."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator

from legibility.reporting.drawing import LIGHT, Theme, end_labels, or_nan, share_axis, themed
from legibility.stored import Interval
from legibility.weak_to_strong.experiment_schema import (
    AutoAlignerSection,
    CeilingEntry,
    ExperimentSummary,
    StudentEntry,
)
from legibility.weak_to_strong.students_figure import students_figure

OBJECTIVES = {  # objective -> the theme's colour of it
    "xent": "helpful",
    "confidence": "sneaky",
    "product": "correctness",
    "bootstrapping": "start",
    "probe": "helpful_soft",
}
MARKERS = "osD^vP"  # one per weak model


def figures(summary: ExperimentSummary, theme: Theme = LIGHT) -> dict[str, Figure]:
    """Every figure the summary has numbers for, by file name (without ending)."""
    found = {"students": students_figure(summary, theme)} if summary.students else {}
    if len({s.sizes.strong for s in summary.students if s.plain}) > 1:
        found["pgr"] = pgr_figure(summary.students, summary.ceiling, theme)
    if any(s.plain and len(s.curve) > 1 for s in summary.students):
        found["curves"] = curves_figure(summary, theme)
    if summary.auto_aligner:
        found["drift"] = drift_figure(summary.auto_aligner, theme)
    return found


def pgr_figure(students: Sequence[StudentEntry], ceilings: Sequence[CeilingEntry], theme: Theme = LIGHT) -> Figure:
    """Accuracy against student size for the plain students (B Fig. 3), and PGR against size ratio for every objective."""
    plain = [s for s in students if s.plain]
    with themed(theme):
        figure = Figure(figsize=(11.4, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_accuracy(left, plain, ceilings, theme)
        _draw_pgr(right, plain, theme)
        return figure


def _draw_accuracy(ax: Axes, plain: Sequence[StudentEntry], ceilings: Sequence[CeilingEntry], theme: Theme) -> None:
    """A line per weak model over the sizes of its students, and the ceilings."""
    xent = [s for s in plain if s.objective == "xent"]
    ends: list[tuple[float, str, str]] = []
    for k, name in enumerate(_weak_names(plain)):
        own = sorted((s for s in xent if s.sizes.weak == name), key=lambda s: s.sizes.strong_parameters)
        if own:
            x = [s.sizes.strong_parameters for s in own]
            y = [or_nan(s.accuracy.value) for s in own]
            ax.plot(x, y, "-", color=theme.helpful, alpha=1 - 0.28 * k)
            for s, place in zip(own, x, strict=True):
                _bar(ax, place * 1.012 ** (k - 1), s.accuracy, theme.helpful, _marker(k))
            ends.append((y[-1], f"taught by {name}", theme.helpful))
    top = sorted((c for c in ceilings if c.objective == "xent"), key=lambda c: c.parameters)
    if top:
        y = [or_nan(c.accuracy.value) for c in top]
        ax.plot([c.parameters for c in top], y, color=theme.text, linewidth=1.2)
        ends.append((y[-1], "ceiling", theme.text))
    ax.set_xscale("log")
    sizes = sorted({s.sizes.strong_parameters for s in xent})
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sizes, [EngFormatter(places=0, sep="")(n) for n in sizes])
    ax.set(xlabel="student parameters", ylabel="test accuracy", title="Students of the plain objective")
    if sizes:
        ax.set_xlim(min(sizes) / 1.15, max(sizes) * 1.15)
    shown = [e for s in xent for e in (s.accuracy.low, s.accuracy.high, s.accuracy.value)]
    share_axis(ax.yaxis, [or_nan(v) for v in (*shown, *(c.accuracy.value for c in top))])
    end_labels(ax, ends)


def _draw_pgr(ax: Axes, plain: Sequence[StudentEntry], theme: Theme) -> None:
    """PGR by size ratio: a colour per objective, a marker per weak model."""
    weak_names, defined = _weak_names(plain), [s for s in plain if s.pgr.value is not None]
    for j, (objective, colour) in enumerate(OBJECTIVES.items()):
        own = [s for s in defined if s.objective == objective]
        for s in own:
            x = s.sizes.ratio * 1.03 ** (j - 2)  # side by side, so that bars do not hide each other
            _bar(ax, x, s.pgr, getattr(theme, colour), _marker(weak_names.index(s.sizes.weak)))
        if own:
            ax.plot([], [], "o", color=getattr(theme, colour), label=objective, markersize=5)
    for k, name in enumerate(weak_names):
        if any(s.sizes.weak == name for s in defined):
            ax.plot([], [], _marker(k), color=theme.muted, label=f"taught by {name}", markersize=5)
    for level in (0, 1):
        ax.axhline(level, color=theme.muted, linewidth=0.9, linestyle=(0, (3, 2)))
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ratios = apart(sorted({s.sizes.ratio for s in defined}))
    ax.set_xticks(ratios, [f"{r:.3g}" for r in ratios])
    shown = [s.pgr.value for s in defined if s.pgr.value is not None]
    ax.set_ylim(min([-0.5, *(v - 0.1 for v in shown)]), max([1.3, *(v + 0.1 for v in shown)]))
    ax.set(
        xlabel="student parameters ÷ weak parameters",
        ylabel="gap recovered (PGR)",
        title="PGR by objective, where defined",
    )
    if shown:
        ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def apart(values: Sequence[float], least: float = 1.25) -> list[float]:
    """Rising values without those that are less than `least` times the last one kept."""
    kept: list[float] = []
    for value in values:
        if not kept or value >= least * kept[-1]:
            kept.append(value)
    return kept


def curves_figure(summary: ExperimentSummary, theme: Theme = LIGHT) -> Figure:
    """Test accuracy during training on true and on weak labels, for the widest gap of the grid, one column per objective."""
    plain = [s for s in summary.students if s.plain and len(s.curve) > 1]
    widest = max((s.sizes.ratio for s in plain), default=1)
    chosen = {s.objective: s for s in plain if s.sizes.ratio == widest}
    with themed(theme):
        figure = Figure(figsize=(max(4.0, 2.4 * max(1, len(chosen)) + 1.2), 2.9), layout="constrained")
        axes = figure.subplots(1, max(1, len(chosen)), sharey=True, squeeze=False)[0]
        ends: list[tuple[float, str, str]] = []
        for ax, (objective, s) in zip(axes, chosen.items(), strict=False):
            x = [p.share for p in s.curve]
            true, weak = [or_nan(p.true) for p in s.curve], [or_nan(p.weak) for p in s.curve]
            ax.plot(x, true, "-o", color=theme.correctness, markersize=3)
            ax.plot(x, weak, "-o", color=theme.sneaky, markersize=3)
            ax.set(title=objective, xlabel="share of training")
            ax.set_xlim(-0.03, 1.03)
            ax.set_xticks([0, 0.5, 1], ["0", "half", "all"])
            ends = [(true[-1], "truth", theme.correctness), (weak[-1], "weak labels", theme.sneaky)]
        share_axis(axes[0].yaxis, [or_nan(v) for s in chosen.values() for p in s.curve for v in (p.true, p.weak)])
        end_labels(axes[-1], ends)
        axes[0].set_ylabel("agreement on test items")
        return figure


def drift_figure(aligner: AutoAlignerSection, theme: Theme = LIGHT) -> Figure:
    """Agreement with the trusted set and with generation 0, and test accuracy, by generation."""
    drift = aligner.drift
    series = (
        ([d.test_accuracy for d in drift], "test accuracy", theme.correctness),
        ([d.trusted_agreement for d in drift], "trusted set", theme.helpful),
        ([d.agreement_with_generation_0 for d in drift], "generation 0's labels", theme.sneaky),
    )
    numbers = [d.generation for d in drift]
    with themed(theme):
        figure = Figure(figsize=(5.4, 3.0), layout="constrained")
        ax = figure.subplots()
        for values, _, colour in series:
            ax.plot(numbers, values, "-o", color=colour, markersize=4)
        ax.set_xticks(numbers, [f"{d.generation}\n{d.model}" for d in drift])
        ax.set(xlabel="generation", ylabel="agreement")
        share_axis(ax.yaxis, [v for values, _, _ in series for v in values])
        end_labels(ax, [(values[-1], label, colour) for values, label, colour in series])
        return figure


def _weak_names(students: Sequence[StudentEntry]) -> list[str]:
    return list(dict.fromkeys(s.sizes.weak for s in students))


def _marker(weak_index: int) -> str:
    return MARKERS[weak_index % len(MARKERS)]


def _bar(ax: Axes, x: float, estimate: Interval, colour: str, marker: str) -> None:
    if estimate.low is not None:
        ax.plot([x, x], [estimate.low, or_nan(estimate.high)], color=colour, linewidth=1, alpha=0.5)
    ax.plot(x, or_nan(estimate.value), marker, color=colour, markersize=5)
