"""The page of a frontier: accuracy against every measure of legibility, an arm a point, and tables of equal cost."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from legibility.evaluation.claims import LEAST_SEEDS
from legibility.evaluation.over_seeds import OverSeeds
from legibility.files import write_atomic
from legibility.frontier.frontier_schema import ArmPoint, Frontier, MeasureInfo, View
from legibility.game.condition import CORRECTNESS, GAME, INIT
from legibility.reporting.drawing import DARK, LIGHT, Theme, themed
from legibility.reporting.images import save_image
from legibility.reporting.page import environment

MARKERS = "osD^vP*Xph"


def write_frontier(frontier: Frontier, folder: Path) -> Path:
    """Write `<folder>/frontier.html` and its figures; returns the page's path."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    images = {
        view.name: save_image(
            folder / "figures" / f"{view.name}.png", *(view_figure(frontier, view, theme) for theme in (LIGHT, DARK))
        )
        for view in frontier.views
    }
    target = folder / "frontier.html"
    page = environment().get_template("frontier.html.j2")
    labels = {"accuracy": "accuracy", **{m.name: m.label for m in frontier.measures}}
    arms = {arm.arm: arm.label for view in frontier.views for arm in view.arms}
    write_atomic(
        target, page.render(frontier=frontier, images=images, labels=labels, arms=arms, least_seeds=LEAST_SEEDS)
    )
    return target


def view_figure(frontier: Frontier, view: View, theme: Theme = LIGHT) -> Figure:
    """A panel a measure: accuracy (x) against it (y), an arm a point with its intervals over seeds; dots: seeds."""
    points = [frontier.start, *view.arms]
    shown = [m for m in frontier.measures if any(p.figures[m.name].mean is not None for p in view.arms)]
    columns = min(3, max(1, len(shown)))
    lines = -(-len(shown) // columns)
    with themed(theme):
        figure = Figure(figsize=(3.6 * columns + 0.4, 3.4 * lines + 0.5), layout="constrained")
        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        for ax, measure in zip(axes, shown, strict=False):
            _panel(ax, points, measure, theme)
        for ax in axes[len(shown) :]:
            ax.set_visible(False)
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(5, len(points)), frameon=False)
        return figure


def _panel(ax: Axes, points: list[ArmPoint], measure: MeasureInfo, theme: Theme) -> None:
    for k, point in enumerate(points):
        figure, colour = point.figures[measure.name], _colour(point.arm, k, theme)
        x, y = point.accuracy.mean, figure.mean
        if x is None or y is None:
            ax.plot([], [], MARKERS[k % len(MARKERS)], color=colour, label=point.label)
            continue
        ax.plot(*_seeds(point.accuracy, figure), "o", color=colour, markersize=2.5, alpha=0.45, markeredgewidth=0)
        ax.errorbar(x, y, yerr=_bars(figure), xerr=_bars(point.accuracy), color=colour, alpha=0.4, linewidth=2)
        ax.plot(x, y, MARKERS[k % len(MARKERS)], color=colour, markersize=7, label=point.label)
    ax.set_title(measure.label, loc="left")
    ax.set_xlabel("accuracy")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _seeds(first: OverSeeds, second: OverSeeds) -> tuple[list[float], list[float]]:
    both = [(a, b) for a, b in zip(first.values, second.values, strict=True) if a is not None and b is not None]
    return [a for a, _ in both], [b for _, b in both]


def _bars(figure: OverSeeds) -> list[list[float]] | None:
    if figure.low is None or figure.high is None or figure.mean is None:
        return None
    return [[max(0.0, figure.mean - figure.low)], [max(0.0, figure.high - figure.mean)]]


def _colour(arm: str, index: int, theme: Theme) -> str:
    known = {INIT: theme.start, GAME: theme.helpful, CORRECTNESS: theme.correctness}
    others = (theme.sneaky, theme.text, theme.helpful_soft, theme.sneaky_soft, theme.muted)
    return known.get(arm) or others[index % len(others)]
