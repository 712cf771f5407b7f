"""Accuracy against checkability (paper Fig. 1): what is given up for being checked, by whoever checks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from legibility.game.condition import ARMS
from legibility.reporting.data import CheckedBy, Policy, ReportData
from legibility.reporting.drawing import LIGHT, Theme, or_nan, themed
from legibility.stored import Interval

Point = tuple[float, float]
CHECKERS: dict[CheckedBy, str] = {
    "people": "people",
    "simulated_raters": "SIMULATED raters, not people",
    "held_out_judge": "the held-out judge",
    "last_verifier": "the last verifier of the run",
}
RATERS: tuple[CheckedBy, ...] = ("people", "simulated_raters")


def checkers(data: ReportData) -> list[CheckedBy]:
    """Who is known to have checked the start and every round (people: the start and some round)."""
    return [
        who
        for who in CHECKERS
        if data.start.checked_by(who) is not None
        and (any if who in RATERS else all)(policy.checked_by(who) is not None for policy in data.game)
    ]


def tax_figure(data: ReportData, theme: Theme = LIGHT) -> Figure:
    """Accuracy (x) against checkability (y) of start, every game round, the correctness-only arm and other arms.

    A panel for each checker, all on the same two axes.
    """
    names = checkers(data)
    with themed(theme):
        figure = Figure(figsize=(4.6 * len(names) + 0.4, 4.4), layout="constrained")
        axes = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
        _room(axes[0], data, names)
        for ax, who in zip(axes, names, strict=True):
            _panel(ax, data, who, theme)
        axes[0].set_ylabel("checkability: right told from wrong")
        return figure


def _panel(ax: Axes, data: ReportData, who: CheckedBy, theme: Theme) -> None:
    rounds = [policy for policy in data.game if policy.checked_by(who) is not None]
    start, path = _point(data.start, who), [_point(policy, who) for policy in rounds]
    ax.plot(*zip(start, path[0], strict=True), color=theme.muted, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    ax.plot(*zip(*path, strict=True), color=theme.helpful, linewidth=1.2, zorder=2)
    for policy in rounds:
        _bars(ax, policy, who, theme.helpful)
    for indices, (x, y) in _apart(ax, [(policy.condition.round, p) for policy, p in zip(rounds, path, strict=True)]):
        ax.plot(x, y, "o", color=theme.helpful, markersize=13, zorder=3)
        ax.annotate(
            ",".join(map(str, indices)),
            (x, y),
            ha="center",
            va="center",
            color=theme.background,
            fontsize=8.5 if len(indices) == 1 else 6.5,
            fontweight="bold",
            zorder=4,
        )
    _bars(ax, data.start, who, theme.start)
    ax.plot(*start, "s", color=theme.start, markersize=9, zorder=3)
    labels = [(path[-1], "game", theme.helpful), (start, "start", theme.start)]
    corner = data.correctness_only
    if corner is not None and corner.checked_by(who) is None:
        corner = None
    if corner is not None:
        _bars(ax, corner, who, theme.correctness)
        ax.plot(*_point(corner, who), "D", color=theme.correctness, markersize=9, zorder=3)
        labels.append((_point(corner, who), "correctness-only", theme.correctness))
    others = [policy for policy in data.others if policy.checked_by(who) is not None]
    for policy in others:
        _bars(ax, policy, who, theme.muted)
        ax.plot(*_point(policy, who), "^", color=theme.muted, markersize=8, zorder=3)
        labels.append((_point(policy, who), ARMS[policy.condition.arm], theme.muted))
    shown = [data.start, *rounds, *([corner] if corner else []), *others]
    _point_labels(ax, labels, [_point(policy, who) for policy in shown], [_ends(policy, who) for policy in shown])
    if corner is not None and rounds[-1] is data.game[-1]:
        _bracket(ax, path[-1], _point(corner, who), data.summary.legibility_tax.value, theme)
    ax.set_title(f"checked by {CHECKERS[who]}", loc="left")
    ax.set_xlabel("accuracy on test problems")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


MARKER = 14 / 72
"""Width of a round's marker, inches."""


def _apart(ax: Axes, numbered: Sequence[tuple[int, Point]]) -> list[tuple[list[int], Point]]:
    """Rounds by marker: those whose markers would cover each other share one, in the middle of their points."""
    box, inch = ax.get_window_extent(), ax.figure.dpi
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    wide, tall = box.width / inch, box.height / inch
    found: list[tuple[list[int], list[Point]]] = []
    for index, (x, y) in numbered:
        for indices, points in found:
            u, v = (sum(values) / len(points) for values in zip(*points, strict=True))
            if math.hypot((x - u) / (right - left) * wide, (y - v) / (high - low) * tall) < MARKER:
                indices.append(index)
                points.append((x, y))
                break
        else:
            found.append(([index], [(x, y)]))
    return [(i, (sum(x for x, _ in p) / len(p), sum(y for _, y in p) / len(p))) for i, p in found]


def _point(policy: Policy, who: CheckedBy) -> Point:
    """Accuracy and checkability, nan where not known."""
    return or_nan(policy.accuracy.value), or_nan(policy.checked_by(who))


def _bounds(interval: Interval | None) -> list[float]:
    """Both ends of an interval, or nothing where one is not known."""
    if interval is None or interval.low is None or interval.high is None:
        return []
    return [interval.low, interval.high]


def _bars(ax: Axes, policy: Policy, who: CheckedBy, colour: str) -> None:
    """The intervals of a policy's accuracy and of its checkability."""
    x, y = _point(policy, who)
    across, up = _bounds(policy.accuracy), _bounds(policy.checkability.get(who))
    for xs, ys in ((across, [y] * len(across)), ([x] * len(up), up)):
        if xs:
            ax.plot(xs, ys, color=colour, linewidth=3, alpha=0.3, solid_capstyle="butt", zorder=1)


Ends = tuple[list[float], list[float]]


def _ends(policy: Policy, who: CheckedBy) -> Ends:
    """Where the two intervals of a policy end: of accuracy, of checkability."""
    return _bounds(policy.accuracy), _bounds(policy.checkability.get(who))


def _point_labels(
    ax: Axes, labels: Sequence[tuple[Point, str, str]], points: Sequence[Point], ends: Sequence[Ends]
) -> None:
    """Names near their points, where they cover the least: no other name at all, and as few points and bars as can be."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    across, up = lambda x: (x - left) / (right - left), lambda y: (y - low) / (high - low)  # as shares of the axes
    dots = [(across(x), up(y)) for x, y in points]
    bars: list[Point] = []
    for (x, y), (xs, ys) in zip(dots, ends, strict=True):
        bars += [(across(xs[0]) + (across(xs[1]) - across(xs[0])) * t / 24, y) for t in range(25) if xs]
        bars += [(x, up(ys[0]) + (up(ys[1]) - up(ys[0])) * t / 24) for t in range(25) if ys]
    names: list[tuple[float, float, float]] = []  # place and half width
    for point, text, colour in labels:
        x, y, half = across(point[0]), up(point[1]), 0.0095 * len(text)

        def cost(place: Point, half: float = half, x: float = x, y: float = y) -> float:
            u, v = place
            outside = u - half < 0 or u + half > 1 or v < 0.16 or v > 0.97  # the tax stands below
            on_name = sum(abs(u - a) < half + b + 0.01 and abs(v - c) < 0.06 for a, c, b in names)
            on_dot = sum(abs(u - a) < half + 0.03 and abs(v - b) < 0.06 for a, b in dots)
            on_bar = sum(abs(u - a) < half + 0.005 and abs(v - b) < 0.03 for a, b in bars)
            return 100 * outside + 100 * on_name + 20 * on_dot + on_bar + 8 * math.hypot(u - x, v - y)

        places = [
            (x + aside * (half + 0.04), y + lift)
            for aside in (0, -0.5, 0.5, -1, 1)
            for lift in (0, 0.075, -0.075, 0.13, -0.13, 0.19, -0.19)
            if abs(aside) == 1 or lift
        ]
        best = min(places, key=cost)
        names.append((*best, half))
        ax.annotate(text, best, xycoords="axes fraction", ha="center", va="center", color=colour, zorder=5)


def _room(ax: Axes, data: ReportData, names: Sequence[CheckedBy]) -> None:
    """Limits that hold every panel's points and intervals, with space for labels above and the bracket below.

    No further than a rate can go, and a little more for the marker there.
    """
    xs, ys = [], []
    for who in names:
        for policy in data.policies:
            if policy.checked_by(who) is not None:
                (x, y), (across, up) = _point(policy, who), _ends(policy, who)
                xs += [x, *across]
                ys += [y, *up]
    wide, high = max(max(xs) - min(xs), 0.06), max(max(ys) - min(ys), 0.06)
    ax.set_xlim(min(xs) - 0.12 * wide, max(xs) + 0.16 * wide)
    ax.set_ylim(min(ys) - 0.34 * high, max(ys) + 0.16 * high)


def _bracket(ax: Axes, game: Point, corner: Point, tax: float | None, theme: Theme) -> None:
    """The legibility tax as a span between the last round's and the correctness-only accuracy."""
    if tax is None:
        return
    low, high = ax.get_ylim()
    y = low + 0.11 * (high - low)
    for x, top in (game, corner):
        ax.plot([x, x], [y, top], color=theme.muted, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    ax.annotate(
        "",
        (game[0], y),
        (corner[0], y),
        arrowprops={"arrowstyle": "<->", "color": theme.text, "shrinkA": 0, "shrinkB": 0},
    )
    left, right = ax.get_xlim()
    middle = (game[0] + corner[0]) / 2
    place = min(max(middle, left + 0.24 * (right - left)), right - 0.24 * (right - left))  # all of it inside the axes
    ax.annotate(
        f"legibility tax {100 * tax:.1f} points".replace("-", "−"),
        (place, y),
        xytext=(0, -4),
        textcoords="offset points",
        ha="center",
        va="top",
    )
