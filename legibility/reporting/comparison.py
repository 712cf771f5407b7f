"""The page of a comparison: seeds of one condition, or groups of runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from legibility.evaluation.claims import LEAST_SEEDS
from legibility.evaluation.groups import GroupComparison
from legibility.evaluation.headline import (
    BEST_OF_16,
    FALSE_POSITIVE_RATE,
    HELPFUL_ACCURACY,
    ROLE_PROBE_AUC,
    SAME_STYLE,
    SNEAKY_ACCURACY,
    STEPS,
)
from legibility.evaluation.merged_seeds import ComparedFigure, Comparison
from legibility.files import write_atomic
from legibility.reporting.drawing import DARK, LIGHT, LineStyle, Theme, end_labels, or_nan, themed
from legibility.reporting.images import save_image
from legibility.reporting.page import environment

STYLES: tuple[LineStyle, LineStyle] = ("-", (0, (3, 1.5)))  # of the two roles, where a line's colour is its group's
PANELS = (  # title; figure, label and colour of each line; limits
    ("accuracy", ((HELPFUL_ACCURACY, "helpful", "helpful"), (SNEAKY_ACCURACY, "sneaky", "sneaky")), (0, 1)),
    ("steps until fooled, or all", ((STEPS, "", "text"),), (0, None)),  # phases that ended unfooled count too
    ("same-style accuracy of its verifier", ((SAME_STYLE, "", "text"),), (0.3, 1)),
    ("balanced best-of-16", ((BEST_OF_16, "", "text"),), (0, 1)),
    ("false-positive rate", ((FALSE_POSITIVE_RATE, "", "sneaky"),), (0, 1)),
    ("role probe AUC", ((ROLE_PROBE_AUC, "", "text"),), (0.3, 1)),
)


def write_comparison(comparison: Comparison | GroupComparison, folder: Path) -> Path:
    """Write `<folder>/compare.html` and its figure; returns the page's path."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    if isinstance(comparison, Comparison):
        name, light, dark = "seeds", *(rounds_figure(comparison, theme) for theme in (LIGHT, DARK))
    else:
        name, light, dark = "groups", *(groups_figure(comparison, theme) for theme in (LIGHT, DARK))
    images = {name: save_image(folder / "figures" / f"{name}.png", light, dark)}
    target, templates = folder / "compare.html", environment()
    templates.filters["plain"] = plain
    page = templates.get_template("compare.html.j2" if name == "seeds" else "groups.html.j2")
    write_atomic(target, page.render(comparison=comparison, images=images, least_seeds=LEAST_SEEDS))
    return target


def plain(value: object) -> str:
    """A setting's value as one writes it."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n").removesuffix("\n...")


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
            _round_axis(ax, rounds)
            ax.set_ylim(low, high)
            if len(lines) > 1:
                end_labels(ax, ends)
        return figure


def groups_figure(comparison: GroupComparison, theme: Theme) -> Figure:
    """Per round: a line per group, with a dot per seed and the interval over seeds; sneaky accuracy is dashed."""
    merged = [group.seeds for group in comparison.groups]
    panels = [
        p
        for p in PANELS
        if any(f.n for seeds in merged for f in seeds.figures if f.name == p[1][0][0] and f.verifier is None)
    ]
    colours = (theme.helpful, theme.sneaky, theme.correctness, theme.text, theme.helpful_soft, theme.sneaky_soft)
    with themed(theme):
        columns = min(3, len(panels))
        lines = -(-len(panels) // columns)
        figure = Figure(figsize=(3.3 * columns + 0.4, 2.8 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False).flat
        for ax, (title, numbers, (low, high)) in zip(axes, panels, strict=False):
            ends = []
            for k, group in enumerate(comparison.groups):
                for style, (name, _, _) in zip(STYLES, numbers, strict=False):
                    entries = [group.seeds.figure(name, r) for r in group.seeds.rounds]
                    shift = 0.06 * (k - (len(merged) - 1) / 2)
                    colour = colours[k % len(colours)]
                    ends.append(_line(ax, entries, [r + shift for r in group.seeds.rounds], group.name, colour, style))
            ax.set_title(title if len(numbers) == 1 else f"{title}: helpful, sneaky dashed", loc="left")
            _round_axis(ax, sorted({r for seeds in merged for r in seeds.rounds}))
            ax.set_ylim(low, high)
            bottom, top = ax.get_ylim()
            room = 0.03 * (top - bottom)  # a dot at the end of the scale is whole
            ax.set_ylim(bottom - room, top + room)
            end_labels(ax, ends)
        for ax in list(axes)[len(panels) :]:
            ax.set_visible(False)
        return figure


def _round_axis(ax: Axes, rounds: Sequence[int]) -> None:
    """Whole rounds, with room beside them: a single one would be spread over fractions."""
    ax.set_xlabel("round")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if rounds:
        ax.set_xlim(rounds[0] - 0.3, rounds[-1] + 0.3)


def _line(
    ax: Axes,
    entries: Sequence[ComparedFigure],
    rounds: Sequence[float],
    label: str,
    colour: str,
    style: LineStyle = "-",
) -> tuple[float, str, str]:
    """One figure over rounds; returns the end of the line with its label."""
    known = [(r, e) for r, e in zip(rounds, entries, strict=True) if e.mean is not None]
    for r, e in known:
        values = [v for v in e.values if v is not None]
        ax.plot([r] * len(values), values, "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        if e.low is not None and e.high is not None:
            ax.plot([r, r], [e.low, e.high], color=colour, linewidth=4, alpha=0.2)
    means = [or_nan(e.mean) for _, e in known]
    ax.plot([r for r, _ in known], means, marker="o", linestyle=style, color=colour, markersize=5, linewidth=1.5)
    return (means[-1] if means else or_nan(None)), label, colour
