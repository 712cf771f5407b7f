"""The page of a comparison of runs (seeds): figures over rounds, every number by seed, paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from legibility.evaluation.claims import LEAST_SEEDS
from legibility.evaluation.compare import ComparedFigure, Comparison
from legibility.evaluation.headline import (
    BEST_OF_16,
    FALSE_POSITIVE_RATE,
    HELPFUL_ACCURACY,
    ROLE_PROBE_AUC,
    SAME_STYLE,
    SNEAKY_ACCURACY,
    STEPS,
)
from legibility.files import write_atomic
from legibility.reporting.drawing import DARK, LIGHT, Theme, end_labels, or_nan, themed
from legibility.reporting.images import save_image
from legibility.reporting.page import environment

PANELS = (  # title; figure, label and colour of each line; limits
    ("accuracy", ((HELPFUL_ACCURACY, "helpful", "helpful"), (SNEAKY_ACCURACY, "sneaky", "sneaky")), (0, 1)),
    ("steps until fooled, or all", ((STEPS, "", "text"),), (0, None)),  # phases that ended unfooled count too
    ("same-style accuracy of its verifier", ((SAME_STYLE, "", "text"),), (0.3, 1)),
    ("balanced best-of-16", ((BEST_OF_16, "", "text"),), (0, 1)),
    ("false-positive rate", ((FALSE_POSITIVE_RATE, "", "sneaky"),), (0, 1)),
    ("role probe AUC", ((ROLE_PROBE_AUC, "", "text"),), (0.3, 1)),
)


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write `<folder>/compare.html` and its figure; returns the page's path."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    light, dark = (rounds_figure(comparison, theme) for theme in (LIGHT, DARK))
    image = save_image(folder / "figures" / "seeds.png", light, dark)
    target = folder / "compare.html"
    write_atomic(
        target,
        environment()
        .get_template("compare.html.j2")
        .render(comparison=comparison, image=image, least_seeds=LEAST_SEEDS),
    )
    return target


def rounds_figure(comparison: Comparison, theme: Theme) -> Figure:
    """Per round: a dot per seed, the mean, and its interval over seeds."""
    rounds = comparison.rounds
    known = {f.name for f in comparison.figures if f.verifier is None and f.n}
    panels = [p for p in PANELS if p[1][0][0] in known]
    with themed(theme):
        figure = Figure(figsize=(2.5 * len(panels) + 0.6, 3.0), layout="constrained")
        for ax, (title, lines, (low, high)) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            ends = [
                _line(ax, [comparison.figure(name, r) for r in rounds], rounds, label, getattr(theme, colour))
                for name, label, colour in lines
            ]
            ax.set_title(title, loc="left")
            ax.set_xlabel("round")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set_ylim(low, high)
            if len(lines) > 1:
                end_labels(ax, ends)
        return figure


def _line(
    ax: Axes, entries: Sequence[ComparedFigure], rounds: Sequence[int], label: str, colour: str
) -> tuple[float, str, str]:
    """One figure over rounds; returns the end of the line with its label."""
    known = [(r, e) for r, e in zip(rounds, entries, strict=True) if e.mean is not None]
    for r, e in known:
        values = [v for v in e.values if v is not None]
        ax.plot([r] * len(values), values, "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        if e.low is not None and e.high is not None:
            ax.plot([r, r], [e.low, e.high], color=colour, linewidth=4, alpha=0.2)
    means = [or_nan(e.mean) for _, e in known]
    ax.plot([r for r, _ in known], means, "o-", color=colour, markersize=5, linewidth=1.5)
    return (means[-1] if means else or_nan(None)), label, colour
