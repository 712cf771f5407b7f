"""Figures of the evaluation: cross-round matrix, attacks, best-of-n, soundness and calibration, role probe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from legibility.evaluation.schema import BestOfNRow
from legibility.evaluation.sections.best_of_n import common_sizes
from legibility.game.condition import HELD_OUT_JUDGE, Judge
from legibility.reporting.drawing import Theme, end_labels, themed

Section = Any


def evaluation_figures(evaluation: dict[str, Section], theme: Theme) -> dict[str, Figure]:
    """Every figure the evaluation has numbers for, by file name."""
    draw: dict[str, Callable[[Section, Theme], Figure | None]] = {
        "matrix": matrix_figure,
        "attacks": attacks_figure,
        "best_of_n": best_of_n_figure,
        "soundness": soundness_figure,
        "separability": separability_figure,
    }
    made = {}
    with themed(theme):
        for name, function in draw.items():
            if evaluation.get(name):
                section = evaluation if name == "attacks" else evaluation[name]
                figure = function(section, theme)
                if figure is not None:
                    made[name] = figure
    return made


def shades(theme: Theme, colour: str, count: int) -> list[tuple[float, float, float]]:
    """`count` steps from faint to the full colour: earlier rounds are fainter."""
    weak, strong = np.array(to_rgb(theme.background)), np.array(to_rgb(colour))
    return [tuple(weak + (strong - weak) * s) for s in np.linspace(0.4, 1.0, count)] if count > 1 else [to_rgb(colour)]


# --- Cross-round matrix ----------------------------------------------------------------------------

PANELS = (("pooled", ""), ("inside the helpful role", " helpful"), ("inside the sneaky role", " sneaky"))
CELL = 0.62  # inches


def matrix_figure(matrix: Section, theme: Theme) -> Figure:
    """AUROC of every verifier (rows) on every solution set (columns): pooled, inside each role; attackers below."""
    names, verifiers = matrix["solutions"], matrix["verifiers"]
    panels = [(title, [n for n in names if re.fullmatch(rf"round \d+{s}", n)]) for title, s in PANELS]
    panels[0] = ("pooled", [n for n in names if not n.startswith("attack") and not re.search(r" (helpful|sneaky)$", n)])
    attacks = [n for n in names if n.startswith("attack")]
    height, width = 1.35 + 0.4 * len(verifiers), 1.9 + CELL * sum(len(c) for _, c in panels) + 0.8
    figure = Figure(
        figsize=(max(width, 1.9 + CELL * len(attacks)), height * (2 if attacks else 1)), layout="constrained"
    )
    parts = figure.subfigures(2, 1) if attacks else [figure]
    for part, group in zip(parts, [panels, [("attackers", attacks)]], strict=False):
        sizes = [max(len(c), 1) for _, c in group]
        rest = max(0.01, (figure.get_figwidth() - 1.9) / CELL - sum(sizes)) if group is not panels else 0.01
        axes = part.subplots(1, len(group) + 1, gridspec_kw={"width_ratios": [*sizes, rest]}, squeeze=False)[0]
        axes[-1].set_visible(False)
        for ax, (title, columns) in zip(axes, group, strict=False):
            _heatmap(ax, matrix, verifiers, columns, theme)
            ax.set_title(title, loc="left")
            ax.set_yticks(range(len(verifiers)), [_judge(v) for v in verifiers] if ax is axes[0] else [])
    return figure


def _judge(name: str) -> str:
    return Judge.parse(name).label


def _heatmap(ax: Axes, matrix: Section, verifiers: Sequence[str], columns: Sequence[str], theme: Theme) -> None:
    values = np.array(
        [[np.nan if (v := matrix["auroc"][r][c]) is None else v for c in columns] for r in verifiers], dtype=float
    )
    shade = LinearSegmentedColormap.from_list("score", [theme.background, theme.helpful])
    ax.imshow(values, cmap=shade, vmin=0.4, vmax=1.0, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            ax.text(
                j, i, text, ha="center", va="center", fontsize=8, color=theme.background if value > 0.72 else theme.text
            )
    for i, verifier in enumerate(verifiers):
        for j, name in enumerate(columns):
            if re.match(rf"round {verifier.split()[-1]}\b", name):
                ax.add_patch(_outline(j, i, theme.sneaky))
    ax.set_xticks(range(len(columns)), [_short(c) for c in columns], rotation=40, ha="right", rotation_mode="anchor")
    ax.grid(False)


def _outline(x: float, y: float, colour: str):
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor=colour, linewidth=1.3)


def _short(name: str) -> str:
    return (
        re.sub(r" (helpful|sneaky)$", "", name)
        .replace("attack ", "")
        .replace("goodhart", "goodh.")
        .replace("correctness", "corr.")
    )


# --- Steps to exploit ------------------------------------------------------------------------------


def attacks_figure(evaluation: Section, theme: Theme) -> Figure:
    """Steps to exploit per verifier, one panel per reward: every attack, and the Kaplan–Meier median with its interval."""
    records, medians = evaluation["attacks"], evaluation["survival"]
    rewards = [r for r in ("src", "cgc", "goodhart") if any(x["reward"] == r for x in records)]
    figure = Figure(figsize=(max(2.9 * len(rewards) + 0.5, 4.2), 3.3), layout="constrained")
    for ax, reward in zip(figure.subplots(1, len(rewards), sharey=True, squeeze=False)[0], rewards, strict=True):
        for row in (r for r in medians if r["reward"] == reward):
            x, top = row["verifier"], row["cap"]
            if row["median"] is not None:
                ax.plot([x - 0.22, x + 0.22], [row["median"]] * 2, color=theme.text, linewidth=2)
            if row["low"] is not None:
                ax.plot(
                    [x, x],
                    [row["low"], row["high"] if row["high"] is not None else top],
                    color=theme.muted,
                    linewidth=5,
                    alpha=0.35,
                )
        for record in (r for r in records if r["reward"] == reward):
            style = (
                {"markerfacecolor": theme.sneaky}
                if record["exploited"]
                else {"markerfacecolor": theme.background, "marker": "^"}
            )
            shift = 0.1 * (record["seed"] % 3 - 1)
            ax.plot(
                record["verifier"] + shift,
                record["steps"],
                **{"marker": "o", "markeredgecolor": theme.sneaky, "markersize": 6, **style},
            )
        ax.set_title(reward.upper() if reward != "goodhart" else "Goodhart", loc="left")
        verifiers = sorted({r["verifier"] for r in records})
        ax.set_xticks(verifiers)
        ax.set_xlim(verifiers[0] - 0.5, verifiers[-1] + 0.5)
        ax.set_xlabel("verifier of round")
        ax.set_ylim(0, 1.08 * max(r["cap"] for r in records))
    figure.axes[0].set_ylabel("PPO steps to exploit")
    return figure


# --- Balanced best-of-n ----------------------------------------------------------------------------


def best_of_n_figure(rows: Section, theme: Theme) -> Figure | None:
    """P(the verifier's favourite of n/2 correct and n/2 incorrect is correct), a line per round, with intervals."""
    sizes = common_sizes([BestOfNRow.model_validate(r) for r in rows])
    if not sizes:
        return None
    rounds = sorted({r["round"] for r in rows})
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.axhline(0.5, color=theme.muted, linewidth=0.8)
    ends = [(0.5, "chance", theme.muted)]
    for colour, index in zip(shades(theme, theme.helpful, len(rounds)), rounds, strict=True):
        line = [next(r for r in rows if r["round"] == index and r["n"] == n) for n in sizes]
        ax.fill_between(
            sizes, [r["low"] for r in line], [r["high"] for r in line], color=colour, alpha=0.13, linewidth=0
        )
        ax.plot(sizes, [r["value"] for r in line], "o-", color=colour, markersize=4, linewidth=1.6)
        ends.append((line[-1]["value"], f"round {index}", colour))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("n (half correct, half incorrect)")
    ax.set_ylabel("share of correct favourites")
    ax.set_ylim(0, 1)
    end_labels(ax, ends)
    return figure


# --- Soundness and calibration ---------------------------------------------------------------------


def soundness_figure(rows: Section, theme: Theme) -> Figure:
    """Left: what each verifier accepts of its own round's text. Right: reliability curves."""
    figure = Figure(figsize=(9.2, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [3, 2]})
    kinds = (
        ("recall", "helpful correct accepted", theme.helpful, -0.15),
        ("fpr", "sneaky incorrect accepted", theme.sneaky, 0.0),
        ("worst_case", "problems with an accepted incorrect attempt", theme.text, 0.15),
    )
    for key, label, colour, shift in kinds:
        known = [(i, r[key]) for i, r in enumerate(rows) if r.get(key) and r[key]["low"] is not None]
        for i, e in known:
            left.plot([i + shift] * 2, [e["low"], e["high"]], color=colour, linewidth=4, alpha=0.3)
        left.plot(
            [i + shift for i, _ in known], [e["value"] for _, e in known], "o", color=colour, markersize=6, label=label
        )
    left.set_xticks(range(len(rows)), [_judge(r["verifier"]) for r in rows])
    left.set_ylim(-0.03, 1.03)
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, labelcolor=theme.muted
    )
    right.plot([0, 1], [0, 1], color=theme.muted, linewidth=0.8)
    ends = []
    rounds = [r for r in rows if Judge.parse(r["verifier"]) != HELD_OUT_JUDGE]
    colours = [*shades(theme, theme.helpful, len(rounds)), *([theme.muted] * (len(rows) - len(rounds)))]
    for colour, row in zip(colours, rows, strict=True):
        curve = row["curve"]
        line = [c["observed"] for c in curve]
        right.plot([c["predicted"] for c in curve], line, "o-", markersize=3, linewidth=1.3, color=colour)
        ends.append((line[-1], _judge(row["verifier"]), colour))
    right.set_xlabel("probability of being correct, by the score")
    right.set_ylabel("share correct")
    right.set_ylim(-0.03, 1.03)
    end_labels(right, ends)
    return figure


# --- Role probe ------------------------------------------------------------------------------------


def separability_figure(rows: Section, theme: Theme) -> Figure:
    """AUC of the role probe by PPO step, round after round, with intervals."""
    rounds = sorted({r["round"] for r in rows})
    figure = Figure(figsize=(max(2.3 * len(rounds) + 1.6, 5.0), 3.1), layout="constrained")
    axes = figure.subplots(1, len(rounds), sharey=True, squeeze=False)[0]
    for ax, index in zip(axes, rounds, strict=True):
        ends = []
        ax.axhline(0.5, color=theme.muted, linewidth=0.8)
        for key, label, colour in (("all", "all text", theme.text), ("incorrect", "incorrect text", theme.sneaky)):
            line = [
                (r["step"], r[key]) for r in rows if (r["round"] == index or r["step"] == 0) and r[key]
            ]  # every round starts at the base
            if line:
                x = [s for s, _ in line]
                ax.fill_between(
                    x, [e["low"] for _, e in line], [e["high"] for _, e in line], color=colour, alpha=0.13, linewidth=0
                )
                ax.plot(x, [e["value"] for _, e in line], "o-", color=colour, markersize=4, linewidth=1.5)
                ends.append((line[-1][1]["value"], label, colour))
        ax.set_title(f"round {index}", loc="left", fontweight="bold")
        ax.set_xlabel("PPO step")
        ax.set_ylim(0.3, 1.02)
        if index == rounds[-1]:
            end_labels(ax, ends)
    axes[0].set_ylabel("AUC of the role probe")
    return figure
