"""The report's figures, drawn with matplotlib's object interface (no pyplot, no global state).

A figure is a function of the run's data and a theme; what they share is in `drawing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from legibility.game.condition import verifier
from legibility.game.run_records import Discrimination
from legibility.reporting.data import Phase, ReportData
from legibility.reporting.drawing import LIGHT, Theme, end_labels, or_nan, series, step_axis, themed
from legibility.reporting.evaluation_figures import evaluation_figures
from legibility.reporting.health_figure import health_figure
from legibility.reporting.tax_figure import checkers, tax_figure

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
                for value, face in ((old, theme.background), (new, shade)):
                    if value is not None:
                        ax.plot(x, value, "o", markersize=8, markerfacecolor=face, markeredgecolor=shade, zorder=3)
            ax.set_title(title, loc="left")
            ax.set_xlim(-0.4, len(rounds) - 1.15)
            ax.set_xticks(range(len(rounds) - 1), [f"round {r.round} text" for r in rounds[:-1]])
        axes[0].set_ylabel("AUROC")
        low = min([0.45, *(v for ax in axes for line in ax.lines for v in line.get_ydata())])
        axes[0].set_ylim(max(low - 0.05, 0), 1.02)
        end_labels(axes[-1], [(0.5, "chance", theme.muted)])
        for ax, (read, _, _) in zip(axes, panels, strict=True):
            for before, after in pairwise(rounds):
                judged = ((before, before.verifier.auroc_own_round), (after, after.verifier.auroc_previous_round))
                names = [(or_nan(read(found)), verifier(row.round).label, theme.muted) for row, found in judged]
                end_labels(ax, names, x=before.round + 0.05)
        return figure
