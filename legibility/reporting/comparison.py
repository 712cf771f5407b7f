"""The page of a comparison of runs (seeds): figures over rounds, every number by seed, paired tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from legibility.files import write_atomic
from legibility.reporting.drawing import DARK, LIGHT, Theme, end_labels, themed
from legibility.reporting.page import CSS_INCH, Image, data_url, environment, png, write_bytes

PANELS = (  # title, figure names with the round left open, label, colour
    ("accuracy", (("helpful accuracy", "helpful", "helpful"), ("sneaky accuracy", "sneaky", "sneaky")), (0, 1)),
    ("steps until fooled, or all", (("PPO steps", "", "text"),), (0, None)),  # phases that ended unfooled count too
    ("balanced best-of-16", (("balanced best-of-16", "", "text"),), (0, 1)),
    ("false-positive rate", (("false-positive rate of its verifier", "", "sneaky"),), (0, 1)),
    ("role probe AUC", (("role probe AUC at the end", "", "text"),), (0.3, 1)),
)


def write_comparison(comparison: dict[str, Any], folder: Path) -> Path:
    """Write `<folder>/compare.html` and its figure; returns the page's path."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    light, dark = (rounds_figure(comparison, theme) for theme in (LIGHT, DARK))
    content = png(light)
    write_bytes(folder / "figures" / "seeds.png", content)
    image = Image(round(CSS_INCH * light.get_figwidth()), data_url(content), data_url(png(dark)))
    target = folder / "compare.html"
    write_atomic(target, environment().get_template("compare.html.j2").render(comparison=comparison, image=image))
    return target


def rounds_figure(comparison: dict[str, Any], theme: Theme) -> Figure:
    """Per round: a dot per seed, the mean, and its interval over seeds."""
    figures = comparison["figures"]
    rounds = sorted({int(m[1]) for name in figures if (m := re.match(r"round (\d+):", name))})
    panels = [p for p in PANELS if any(figures[f"round {r}: {p[1][0][0]}"]["n"] for r in rounds)]
    with themed(theme):
        figure = Figure(figsize=(2.5 * len(panels) + 0.6, 3.0), layout="constrained")
        for ax, (title, lines, (low, high)) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            ends = [
                _line(ax, [figures[f"round {r}: {name}"] for r in rounds], rounds, label, getattr(theme, colour))
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
    ax: Axes, entries: list[dict[str, Any]], rounds: list[int], label: str, colour: str
) -> tuple[float, str, str]:
    known = [(r, e) for r, e in zip(rounds, entries, strict=True) if e["mean"] is not None]
    for r, e in known:
        values = [v for v in e["values"] if v is not None]
        ax.plot([r] * len(values), values, "o", color=colour, markersize=3, alpha=0.45, markeredgewidth=0)
        if e["low"] is not None:
            ax.plot([r, r], [e["low"], e["high"]], color=colour, linewidth=4, alpha=0.2)
    ax.plot([r for r, _ in known], [e["mean"] for _, e in known], "o-", color=colour, markersize=5, linewidth=1.5)
    return (known[-1][1]["mean"] if known else float("nan")), label, colour
