"""The report's figures, drawn with matplotlib's object interface (no pyplot, no global state).

A figure is a function of the run's data and a theme; what they share is in `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from legibility.game.condition import CORRECTNESS, verifier
from legibility.game.run_records import Discrimination
from legibility.reporting.data import CheckedBy, Phase, Policy, ReportData
from legibility.reporting.drawing import LIGHT, LineStyle, Theme, end_labels, or_nan, series, step_axis, themed
from legibility.reporting.evaluation_figures import evaluation_figures
from legibility.stored import Interval

COLUMNS = 4  # rounds side by side


def figures(data: ReportData, theme: Theme = LIGHT) -> dict[str, Figure]:
    """Every figure the run has numbers for, by file name (without ending)."""
    wanted: dict[str, tuple[bool, Callable[[ReportData, Theme], Figure]]] = {
        "rounds": (True, rounds_figure),
        "tax": (bool(checkers(data)), tax_figure),
        "verifier": (
            any(r.verifier.auroc_previous_round.pooled is not None for r in data.summary_rounds[1:]),
            verifier_figure,
        ),
        "health": (True, health_figure),
    }
    made = {name: draw(data, theme) for name, (possible, draw) in wanted.items() if possible}
    return made | (evaluation_figures(data.summary.evaluation, theme) if data.summary.evaluation else {})


# --- Convincingness and accuracy by step (paper Fig. 5) -------------------------------------------

CELLS = (  # metric, colour, line style, label
    ("score_helpful_correct", "helpful", "-", "helpful, correct"),
    ("score_helpful_incorrect", "helpful_soft", (0, (3, 1.5)), "helpful, incorrect"),
    ("score_sneaky_incorrect", "sneaky", "-", "sneaky, incorrect"),
    ("score_sneaky_correct", "sneaky_soft", (0, (3, 1.5)), "sneaky, correct"),
)


def rounds_figure(data: ReportData, theme: Theme = LIGHT) -> Figure:
    """One column per round: mean verifier score of the four cells above, accuracy of both roles below."""
    count = len(data.rounds)
    columns = min(count, COLUMNS)
    blocks = math.ceil(count / columns)
    with themed(theme):
        figure = Figure(figsize=(max(2.25 * columns + 1.7, 5.0), 4.9 * blocks), layout="constrained")
        grid = figure.subplots(2 * blocks, columns, squeeze=False, gridspec_kw={"height_ratios": [3, 2] * blocks})
        for ax in grid.flat:
            ax.set_visible(False)
        for i, phase in enumerate(data.rounds):
            top, bottom = grid[2 * (i // columns)][i % columns], grid[2 * (i // columns) + 1][i % columns]
            last = i == count - 1 or i % columns == columns - 1
            _round_column(top, bottom, phase, data.config.stop.ema, theme, labelled=last)
            if i % columns == 0:
                top.set_ylabel("verifier score (raw)")
                bottom.set_ylabel("accuracy")
        return figure


def _round_column(top: Axes, bottom: Axes, phase: Phase, alpha: float, theme: Theme, *, labelled: bool) -> None:
    for ax in (top, bottom):
        ax.set_visible(True)
    labels: list[tuple[float, str, str]] = []
    for metric, colour, style, label in CELLS:
        end = series(top, phase.steps[metric], alpha, getattr(theme, colour), style)
        labels.append((end, label, getattr(theme, colour)))
    accuracy = []
    for role in ("helpful", "sneaky"):
        end = series(bottom, phase.steps[f"accuracy_{role}"], alpha, getattr(theme, role))
        accuracy.append((end, role, getattr(theme, role)))
    exploited = phase.training.steps_to_exploit
    top.set_title(phase.title, loc="left", fontweight="bold")
    note = f"fooled at step {exploited}" if exploited else "not exploited"
    top.set_title(note, loc="right", fontsize=8, color=theme.text if exploited else theme.muted)
    for ax in (top, bottom):
        if exploited:
            ax.axvline(exploited, color=theme.text, linewidth=0.9, linestyle=(0, (1, 1.5)))
        step_axis(ax, phase.steps.index)
    top.set_xticklabels([])
    bottom.set_xlabel("PPO step")
    bottom.set_ylim(-0.03, 1.03)
    bottom.yaxis.set_major_formatter(PercentFormatter(1.0))
    bottom.set_yticks([0, 0.5, 1])
    if labelled:
        end_labels(top, labels)
        end_labels(bottom, accuracy)


# --- Accuracy against checkability (paper Fig. 1) --------------------------------------------------

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
    """Accuracy (x) against checkability (y) of start, every game round and the correctness-only arm."""
    names = checkers(data)
    with themed(theme):
        figure = Figure(figsize=(4.6 * len(names) + 0.4, 4.2), layout="constrained")
        axes = figure.subplots(1, len(names), squeeze=False, sharex=True)[0]
        for ax, who in zip(axes, names, strict=True):
            _tax_panel(ax, data, who, theme)
        return figure


def _tax_panel(ax: Axes, data: ReportData, who: CheckedBy, theme: Theme) -> None:
    rounds = [policy for policy in data.game if policy.checked_by(who) is not None]
    start, path = _point(data.start, who), [_point(policy, who) for policy in rounds]
    ax.plot(*zip(start, path[0], strict=True), color=theme.muted, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
    ax.plot(*zip(*path, strict=True), color=theme.helpful, linewidth=1.2, zorder=2)
    for policy, (x, y) in zip(rounds, path, strict=True):
        _bars(ax, policy, who, theme.helpful)
        ax.plot(x, y, "o", color=theme.helpful, markersize=13, zorder=3)
        ax.annotate(
            str(policy.condition.round),
            (x, y),
            ha="center",
            va="center",
            color=theme.background,
            fontsize=8.5,
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
    points = [*path, *(point for point, _, _ in labels)]
    _room(ax, points, [y for policy in data.policies for y in _bounds(policy.checkability.get(who))])
    _point_labels(ax, labels, points)
    if corner is not None and rounds[-1] is data.game[-1]:
        _bracket(ax, path[-1], _point(corner, who), data.summary.legibility_tax.value, theme)
    ax.set_title(f"checked by {CHECKERS[who]}", loc="left")
    ax.set_xlabel("accuracy on test problems")
    ax.set_ylabel("accuracy of the raters" if who in RATERS else "checkability (pairwise accuracy)")
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _point(policy: Policy, who: CheckedBy) -> Point:
    """Accuracy and checkability, nan where not known."""
    return or_nan(policy.accuracy.value), or_nan(policy.checked_by(who))


def _bounds(interval: Interval | None) -> list[float]:
    """Both ends of an interval, or nothing where one is not known."""
    if interval is None or interval.low is None or interval.high is None:
        return []
    return [interval.low, interval.high]


def _bars(ax: Axes, policy: Policy, who: CheckedBy, colour: str) -> None:
    """The intervals of a policy's accuracy and of its checkability, where they are known (people's)."""
    x, y = _point(policy, who)
    across, up = _bounds(policy.accuracy), _bounds(policy.checkability.get(who))
    for xs, ys in ((across, [y] * len(across)), ([x] * len(up), up)):
        if xs:
            ax.plot(xs, ys, color=colour, linewidth=4, alpha=0.22, solid_capstyle="butt", zorder=1)


def _point_labels(ax: Axes, labels: Sequence[tuple[Point, str, str]], points: Sequence[Point]) -> None:
    """Names beside their points: above, below, left or right, wherever fewest other things are in the way."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    taken = [((x - left) / (right - left), (y - low) / (high - low)) for x, y in points]  # as shares of the axes
    for point, text, colour in labels:
        x, y = (point[0] - left) / (right - left), (point[1] - low) / (high - low)
        half = 0.008 * len(text)  # of the label's width
        places = [(x, y + 0.075), (x, y - 0.075), (x - half - 0.04, y), (x + half + 0.04, y)]

        def crowd(place: Point, half: float = half) -> int:
            return sum(abs(place[0] - u) < half + 0.02 and abs(place[1] - v) < 0.055 for u, v in taken)

        place = min(places, key=crowd)  # the first of the best
        taken.append(place)
        ax.annotate(text, place, xycoords="axes fraction", ha="center", va="center", color=colour, zorder=5)


def _room(ax: Axes, points: Sequence[Point], bounds: Sequence[float] = ()) -> None:
    """Limits that leave space for labels above and the bracket below."""
    xs, ys = zip(*points, strict=True)
    ys = (*ys, *bounds)
    wide, high = max(max(xs) - min(xs), 0.06), max(max(ys) - min(ys), 0.06)
    ax.set_xlim(min(xs) - 0.22 * wide, max(xs) + 0.30 * wide)
    ax.set_ylim(min(ys) - 0.42 * high, max(ys) + 0.28 * high)


def _bracket(ax: Axes, game: Point, corner: Point, tax: float | None, theme: Theme) -> None:
    """The legibility tax as a span between the last round's and the correctness-only accuracy."""
    if tax is None:
        return
    low, high = ax.get_ylim()
    y = low + 0.13 * (high - low)
    for x, top in (game, corner):
        ax.plot([x, x], [y, top], color=theme.muted, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    ax.annotate(
        "",
        (game[0], y),
        (corner[0], y),
        arrowprops={"arrowstyle": "<->", "color": theme.text, "shrinkA": 0, "shrinkB": 0},
    )
    ax.annotate(
        f"legibility tax {100 * tax:.1f} points".replace("-", "−"),
        ((game[0] + corner[0]) / 2, y),
        xytext=(0, -4),
        textcoords="offset points",
        ha="center",
        va="top",
    )


# --- Does the next verifier see through the last round's text? -------------------------------------

PANELS: tuple[tuple[Callable[[Discrimination], float | None], str, str], ...] = (
    (lambda d: d.same_style.value if d.same_style else None, "same problem, role\nand style", "text"),
    (lambda d: d.pooled, "pooled: helpful correct\nagainst sneaky incorrect", "text"),
    (lambda d: d.helpful, "inside the helpful role", "helpful"),
    (lambda d: d.sneaky, "inside the sneaky role", "sneaky"),
)


def verifier_figure(data: ReportData, theme: Theme = LIGHT) -> Figure:
    """AUROC on round r-1's test text: its own verifier (hollow) and the next round's (filled). The headline leads."""
    rounds = data.summary_rounds
    panels = PANELS if any(PANELS[0][0](r.verifier.auroc_own_round) is not None for r in rounds) else PANELS[1:]
    with themed(theme):
        figure = Figure(figsize=(3.2 * len(panels), 3.3), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True)
        for ax, (read, title, colour) in zip(axes, panels, strict=True):
            shade = getattr(theme, colour)
            ax.axhline(0.5, color=theme.muted, linewidth=0.8)
            for before, after in pairwise(rounds):
                x = before.round
                old, new = read(before.verifier.auroc_own_round), read(after.verifier.auroc_previous_round)
                if old is not None and new is not None:
                    ax.annotate(
                        "",
                        (x, new),
                        (x, old),
                        arrowprops={"arrowstyle": "-|>", "color": shade, "shrinkA": 4, "shrinkB": 4},
                    )
                for value, face, who in ((old, theme.background, before.round), (new, shade, after.round)):
                    if value is not None:
                        ax.plot(x, value, "o", markersize=8, markerfacecolor=face, markeredgecolor=shade, zorder=3)
                        ax.annotate(
                            verifier(who).label,
                            (x, value),
                            xytext=(8, 0),
                            textcoords="offset points",
                            va="center",
                            fontsize=8,
                            color=theme.muted,
                        )
            ax.set_title(title, loc="left")
            ax.set_xlim(-0.4, len(rounds) - 1.15)
            ax.set_xticks(range(len(rounds) - 1), [f"round {r.round} text" for r in rounds[:-1]])
        end_labels(axes[-1], [(0.5, "chance", theme.muted)])
        axes[0].set_ylabel("AUROC")
        low = min([0.45, *(v for ax in axes for line in ax.lines for v in line.get_ydata())])
        axes[0].set_ylim(max(low - 0.05, 0), 1.0)
        return figure


# --- Health ----------------------------------------------------------------------------------------


def health_figure(data: ReportData, theme: Theme = LIGHT) -> Figure:
    """Training diagnostics per PPO step, phase after phase, the correctness-only arm last."""
    phases = [*data.rounds, *([data.correctness] if data.correctness else [])]
    offsets, total = [], 0
    for phase in phases:
        offsets.append(total)
        total += len(phase.steps) + max(2, round(0.03 * sum(len(p.steps) for p in phases)))
    alpha = data.config.stop.ema
    joint = (
        ("kl", "KL to the phase's start (nats per completion)"),
        ("entropy", "entropy (nats per token)"),
        ("score_std_within", "score spread inside a group (raw)"),
        ("clip_fraction", "tokens outside the clip range"),
        ("truncated", "completions cut off"),
    )
    with themed(theme):
        figure = Figure(figsize=(9.6, 9.4), layout="constrained")
        axes = figure.subplots(4, 2)
        for ax, (metric, title) in zip(axes.flat[:5], joint, strict=True):
            ax.set_title(title, loc="left")
            for phase, offset in zip(phases, offsets, strict=True):
                colour = theme.correctness if phase is data.correctness else theme.text
                series(ax, phase.steps[metric], alpha, colour, offset=offset)
            if metric in ("clip_fraction", "truncated"):
                ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
                ax.set_ylim(0, max(0.05, 1.1 * ax.dataLim.y1))
        axes.flat[5].set_title("completion length (tokens)", loc="left")
        for ax in axes.flat:
            _phase_axis(ax, phases, offsets, total, theme)
        lengths: list[tuple[float, str, str]] = []
        for role, ax in (("helpful", axes.flat[6]), ("sneaky", axes.flat[7])):
            ax.set_title(f"verdicts, {role} role", loc="left")
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
            ax.set_ylim(-0.03, 1.03)
            ends = []
            for phase, offset in zip(phases, offsets, strict=True):
                if role == "sneaky" and phase is data.correctness:
                    continue
                name, colour = role, getattr(theme, role)
                if phase is data.correctness:
                    name, colour = "correctness", theme.correctness
                last = series(axes.flat[5], phase.steps[f"length_{role}"], alpha, colour, offset=offset)
                lengths = [entry for entry in lengths if entry[1] != name] + [(last, name, colour)]
                ends = _verdict_lines(ax, phase, role, alpha, colour, offset)
            end_labels(ax, ends)
        end_labels(axes.flat[5], lengths)
        return figure


VERDICT_STYLES: dict[str, LineStyle] = {"correct": "-", "incorrect": (0, (4, 1.5)), "invalid": (0, (1, 1.2))}


def _verdict_lines(
    ax: Axes, phase: Phase, role: str, alpha: float, colour: str, offset: int
) -> list[tuple[float, str, str]]:
    """Share of each verdict; returns the ends of the lines with their labels."""
    shares = phase.verdicts.loc[role]
    return [
        (series(ax, shares[v], alpha, colour, style, offset=offset), v, colour) for v, style in VERDICT_STYLES.items()
    ]


def _phase_axis(ax: Axes, phases: Sequence[Phase], offsets: Sequence[int], total: int, theme: Theme) -> None:
    for offset in offsets[1:]:
        ax.axvline(offset - 1, color=theme.grid, linewidth=1, zorder=0)
    ax.set_xticks(
        [o + (len(p.steps) + 1) / 2 for p, o in zip(phases, offsets, strict=True)],
        ["correctness" if p.arm == CORRECTNESS else p.title for p in phases],
        fontsize=8,
        rotation=30 if len(phases) > 6 else 0,
    )
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-1, total)
