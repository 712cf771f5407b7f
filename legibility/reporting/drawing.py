"""What the report's figures share: colours, type, smoothed series, labels at the ends of lines.

Colours mean the same everywhere: helpful blue, sneaky orange, correctness-only green, start grey
(Okabe and Ito's colour-blind-safe set), in a light and a dark version.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

Colour: TypeAlias = str | tuple[float, float, float]
"""A name or hex code, or red, green and blue from 0 to 1."""

LineStyle: TypeAlias = str | tuple[int, tuple[float, float]]
"""A name, or an offset and the lengths of dash and gap, in points."""


@dataclass(frozen=True)
class Theme:
    """Colours of one version of every figure; `_soft` are the less important cells of a role."""

    name: str
    background: str
    text: str
    muted: str
    grid: str
    helpful: str
    helpful_soft: str
    sneaky: str
    sneaky_soft: str
    correctness: str
    start: str


LIGHT = Theme(
    "light",
    "#ffffff",
    "#1d2126",
    "#5c6670",
    "#e3e6ea",
    "#0072b2",
    "#62a9d6",
    "#d55e00",
    "#e3a35c",
    "#00795a",
    "#6b7480",
)
DARK = Theme(
    "dark", "#16191d", "#e6e8eb", "#a2abb5", "#32383f", "#56b4e9", "#3d7ea6", "#f08a3c", "#a8723f", "#35c193", "#a2abb5"
)


def series(ax: Axes, values: pd.Series, alpha: float, colour: str, style: LineStyle = "-", *, offset: int = 0) -> float:
    """Raw points faintly, an exponential average on top; returns the last smoothed value (nan if none)."""
    x = values.index.to_numpy() + offset
    smooth = values.ewm(alpha=alpha, adjust=False, ignore_na=True).mean()  # as the stop rule smooths
    ax.plot(x, values.to_numpy(), "o", color=colour, markersize=2, alpha=0.28, markeredgewidth=0)
    ax.plot(x, smooth.to_numpy(), color=colour, linestyle=style, linewidth=1.6)
    known = smooth.dropna()
    return float(known.iloc[-1]) if len(known) else math.nan


def shades(theme: Theme, colour: str, count: int) -> list[Colour]:
    """`count` steps from faint to the full colour: earlier rounds are fainter."""
    weak, strong = np.array(to_rgb(theme.background)), np.array(to_rgb(colour))
    return [tuple(weak + (strong - weak) * s) for s in np.linspace(0.4, 1.0, count)] if count > 1 else [to_rgb(colour)]


def readable_on(ground: Colour) -> str:
    """Black or white, whichever stands out more from a ground: at least 4.58 to 1, on any."""
    return max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, ground))


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio of two colours, from 1 to 21 (WCAG 2.2); text needs 4.5."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def or_nan(value: float | None) -> float:
    """A number that may not be defined, as matplotlib leaves it out."""
    return math.nan if value is None else value


def share_axis(axis: Axis, values: Iterable[float], least: float = 0.1) -> None:
    """Limits and ticks of an axis of shares: no narrower than `least`, inside [0, 1], every tick a percentage of its own."""
    known = [v for v in values if not math.isnan(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    spare = max(0.0, least - (high - low)) / 2 + 0.04 * max(high - low, least)
    low, high = max(low - spare, -0.02), min(high + spare, 1.02)
    axis.set_view_interval(low, high, ignore=True)
    axis.set_major_locator(MultipleLocator(next(step for step in (0.02, 0.05, 0.1, 0.2) if (high - low) / step <= 6)))
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def step_axis(ax: Axes, steps: pd.Index) -> None:
    """Limits and ticks of an axis of PPO steps."""
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    margin = 0.03 * max(len(steps), 4)
    ax.set_xlim(steps.min() - margin, steps.max() + margin)


def end_labels(ax: Axes, ends: Iterable[tuple[float, str, Colour]], x: float | None = None) -> None:
    """Names at the ends of lines, pushed apart where they would overlap. `ends`: (y, text, colour)."""
    known = sorted((e for e in ends if not math.isnan(e[0])), key=lambda e: e[0])
    low, high = ax.get_ylim()
    height = ax.get_position().height * cast(Figure, ax.figure).get_figheight() * 72  # points
    gap = 10.5 * (high - low) / max(height, 1)
    places: list[float] = []
    for y, _, _ in known:
        places.append(max(y, places[-1] + gap) if places else y)
    shift = max(0.0, places[-1] - high) if places else 0.0
    for place, (_, text, colour) in zip(places, known, strict=True):
        ax.annotate(
            text,
            (ax.get_xlim()[1] if x is None else x, place - shift),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8.5,
            annotation_clip=False,
        )


def themed(theme: Theme) -> AbstractContextManager[None]:
    """A context in which everything is drawn in the theme; rcParams are as before afterwards."""
    return matplotlib.rc_context(
        {
            "figure.facecolor": theme.background,
            "axes.facecolor": theme.background,
            "savefig.facecolor": theme.background,
            "text.color": theme.text,
            "axes.labelcolor": theme.muted,
            "axes.titlecolor": theme.text,
            "xtick.color": theme.muted,
            "ytick.color": theme.muted,
            "axes.edgecolor": theme.grid,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "grid.color": theme.grid,
            "grid.linewidth": 0.7,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "axes.titlesize": 9.5,
            "axes.labelsize": 9,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "ytick.major.size": 0,
            "figure.dpi": 160,
        }
    )
