"""Figures of the evaluation: cross-round matrix, attacks, best-of-n, soundness and calibration, role probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from legibility.evaluation.attack_schema import AttackRecord, Survival
from legibility.evaluation.schema import BestOfNRow, Evaluation, Matrix, SeparabilityRow, SoundnessRow
from legibility.evaluation.sections.best_of_n import common_sizes
from legibility.evaluation.text_sets import GOODHART, REWARDS, Attackers, BothRoles, TextSet, reward_label
from legibility.game.condition import CORRECTNESS_ONLY, GAME, HELD_OUT_JUDGE, LENGTH_PENALISED, START, Condition, Judge
from legibility.prompts import HELPFUL, SNEAKY
from legibility.reporting.drawing import Colour, Theme, end_labels, or_nan, readable_on, shades, themed
from legibility.reporting.robustness_figure import robustness_figure


def evaluation_figures(evaluation: Evaluation, theme: Theme) -> dict[str, Figure]:
    """Every figure the evaluation has numbers for, by file name."""
    made: dict[str, Figure | None] = {}
    with themed(theme):
        if evaluation.matrix:
            made["matrix"] = matrix_figure(evaluation.matrix, theme)
        if evaluation.attacks:
            made["attacks"] = attacks_figure(evaluation.attacks, evaluation.survival or [], theme)
        if evaluation.robustness:
            made["robustness"] = robustness_figure(evaluation.robustness, theme)
        if evaluation.best_of_n:
            made["best_of_n"] = best_of_n_figure(evaluation.best_of_n, theme)
        if evaluation.soundness:
            made["soundness"] = soundness_figure(evaluation.soundness, theme)
        if evaluation.separability:
            made["separability"] = separability_figure(evaluation.separability, theme)
    return {name: figure for name, figure in made.items() if figure is not None}


# --- Cross-round matrix ----------------------------------------------------------------------------

CELL = 0.62  # inches
LOW = 0.4  # AUROC of a white cell
Cells: TypeAlias = Mapping[Judge, Mapping[TextSet, float | None]]
"""A metric of the matrix: by judge and set of text."""


def pooled_texts(matrix: Matrix) -> list[TextSet]:
    """The sets of a matrix that are neither one role of a round nor attackers' text."""
    return [t for t in matrix.solutions if not isinstance(t, Attackers) and _role(t) is None]


def _role(texts: TextSet) -> str | None:
    """The role a set of texts is confined to; None for honest text outside the game and for both roles together."""
    if isinstance(texts, Condition) and (texts.arm == GAME or texts.sneaky):
        return texts.role
    return None


def _of_round(texts: TextSet) -> int | None:
    """The round whose provers wrote the texts."""
    if isinstance(texts, BothRoles) or (isinstance(texts, Condition) and texts.arm == GAME):
        return texts.round
    return None


def matrix_figure(matrix: Matrix, theme: Theme) -> Figure:
    """AUROC of every verifier (rows) on every solution set (columns): same-style pairs, pooled, inside each role.

    Attackers' text below: same-style pairs, then all of it.
    """
    judges = matrix.verifiers
    inside = {
        role: [t for t in matrix.solutions if _of_round(t) is not None and _role(t) == role]
        for role in (HELPFUL, SNEAKY)
    }
    attacks: list[TextSet] = [t for t in matrix.solutions if isinstance(t, Attackers)]
    honest, by_style = pooled_texts(matrix), matrix.same_style
    panels: list[tuple[str, list[TextSet], Cells]] = [
        ("pooled", honest, matrix.auroc),
        ("inside the helpful role", inside[HELPFUL], matrix.auroc),
        ("inside the sneaky role", inside[SNEAKY], matrix.auroc),
    ]
    below: list[tuple[str, list[TextSet], Cells]] = [("attackers", attacks, matrix.auroc)]
    if by_style is not None:
        panels.insert(0, ("same problem, role and style", honest, by_style))
        below.insert(0, ("attackers, same problem and style", attacks, by_style))
    height, widest = 1.35 + 0.4 * len(judges), sum(len(columns) for _, columns, _ in panels)
    if attacks:
        widest = max(widest, sum(len(columns) for _, columns, _ in below))
    figure = Figure(figsize=(1.9 + CELL * widest + 0.8, height * (2 if attacks else 1)), layout="constrained")
    parts: Sequence[FigureBase] = list(figure.subfigures(2, 1, squeeze=False).flat) if attacks else [figure]
    for part, group in zip(parts, [panels, below], strict=False):
        sizes = [max(len(columns), 1) for _, columns, _ in group]
        rest = max(0.01, (figure.get_figwidth() - 1.9) / CELL - sum(sizes)) if group is not panels else 0.01
        axes = part.subplots(1, len(group) + 1, gridspec_kw={"width_ratios": [*sizes, rest]}, squeeze=False)[0]
        axes[-1].set_visible(False)
        for ax, (title, columns, cells) in zip(axes, group, strict=False):
            _heatmap(ax, judges, columns, cells, theme)
            ax.set_title(title, loc="left")
            ax.set_yticks(range(len(judges)), [j.label for j in judges] if ax is axes[0] else [])
    return figure


def _heatmap(ax: Axes, judges: Sequence[Judge], columns: Sequence[TextSet], cells: Cells, theme: Theme) -> None:
    """A figure of every judge on some sets of text; a judge on its own round's text is outlined."""
    rows = [[cells[judge][texts] for texts in columns] for judge in judges]
    values = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)
    shade = LinearSegmentedColormap.from_list("score", [theme.background, theme.helpful])
    ax.imshow(values, cmap=shade, vmin=LOW, vmax=1.0, aspect="auto")
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            known = not np.isnan(value)
            red, green, blue, _ = shade(0.0 if np.isnan(value) else (float(value) - LOW) / (1 - LOW))
            ax.text(
                j,
                i,
                f"{value:.2f}" if known else "–",
                ha="center",
                va="center",
                fontsize=8,
                color=readable_on((red, green, blue)) if known else theme.text,
            )
    for i, judge in enumerate(judges):
        for j, texts in enumerate(columns):
            if judge.round is not None and judge.round == _of_round(texts):
                ax.add_patch(_outline(j, i, theme.sneaky))
    ax.set_xticks(range(len(columns)), [_short(c) for c in columns], rotation=40, ha="right", rotation_mode="anchor")
    ax.grid(False)


def _outline(x: float, y: float, colour: str) -> Rectangle:
    return Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, fill=False, edgecolor=colour, linewidth=1.3)


_SHORT: dict[TextSet, str] = {START: "base", CORRECTNESS_ONLY: "corr.", LENGTH_PENALISED: "corr. short"}


def _short(texts: TextSet) -> str:
    """What stands below a column; the panel's title has the role."""
    if isinstance(texts, Attackers):
        return f"{'goodh.' if texts.reward == GOODHART else texts.reward} {texts.verifier}"
    return _SHORT.get(texts, f"round {texts.round}")


# --- Steps to exploit ------------------------------------------------------------------------------


def attacks_figure(records: Sequence[AttackRecord], medians: Sequence[Survival], theme: Theme) -> Figure:
    """Steps to exploit per verifier, one panel per reward: every attack, and the Kaplan–Meier median with its interval."""
    rewards = [r for r in REWARDS if any(x.reward == r for x in records)]
    figure = Figure(figsize=(max(2.9 * len(rewards) + 0.5, 4.2), 3.3), layout="constrained")
    for ax, reward in zip(figure.subplots(1, len(rewards), sharey=True, squeeze=False)[0], rewards, strict=True):
        for row in (m for m in medians if m.reward == reward):
            x, top = row.verifier, row.cap
            if row.median is not None:
                ax.plot([x - 0.22, x + 0.22], [row.median] * 2, color=theme.text, linewidth=2)
            if row.low is not None:
                ax.plot(
                    [x, x],
                    [row.low, row.high if row.high is not None else top],
                    color=theme.muted,
                    linewidth=5,
                    alpha=0.35,
                )
        for record in (r for r in records if r.reward == reward):
            shift = 0.1 * (record.seed % 3 - 1)
            ax.plot(
                record.verifier + shift,
                record.steps,
                marker="o" if record.exploited else "^",
                markerfacecolor=theme.sneaky if record.exploited else theme.background,
                markeredgecolor=theme.sneaky,
                markersize=6,
            )
        ax.set_title(reward_label(reward), loc="left")
        verifiers = sorted({r.verifier for r in records})
        ax.set_xticks(verifiers, [_ticked(v, reward, medians) for v in verifiers])
        ax.set_xlim(verifiers[0] - 0.5, verifiers[-1] + 0.5)
        ax.set_xlabel("verifier of round;\nbelow it: attacks at risk")
        ax.set_ylim(0, 1.08 * max(r.cap for r in records))
    figure.axes[0].set_ylabel("PPO steps to exploit")
    return figure


def _ticked(verifier: int, reward: str, medians: Sequence[Survival]) -> str:
    """A verifier's round, and below it how many attacks were at risk at the start and at each quarter of the cap."""
    row = next((m for m in medians if (m.verifier, m.reward) == (verifier, reward)), None)
    at_risk = [] if row is None else row.at_risk or []
    return f"{verifier}\n" + " ".join(str(a.attacks) for a in at_risk)


# --- Balanced best-of-n ----------------------------------------------------------------------------


def best_of_n_figure(rows: Sequence[BestOfNRow], theme: Theme) -> Figure | None:
    """P(the verifier's favourite of n/2 correct and n/2 incorrect is correct), a line per round, with intervals.

    Dotted: what random scores get on that round's pool, where it was measured; it is no constant (texts repeat).
    """
    sizes = common_sizes(rows)
    if not sizes:
        return None
    rounds = sorted({r.round for r in rows})
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    ax = figure.subplots()
    ends: list[tuple[float, str, Colour]] = []
    chances = []
    for colour, index in zip(shades(theme, theme.helpful, len(rounds)), rounds, strict=True):
        line = [next(r for r in rows if r.round == index and r.n == n) for n in sizes]
        low, high = [or_nan(r.low) for r in line], [or_nan(r.high) for r in line]
        values = [or_nan(r.value) for r in line]
        ax.fill_between(sizes, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot(sizes, values, "o-", color=colour, markersize=4, linewidth=1.6)
        ends.append((values[-1], f"round {index}", colour))
        if all(r.null is not None for r in line):
            chances.append([or_nan(r.null) for r in line])
            ax.plot(sizes, chances[-1], ":", color=colour, linewidth=1.2)
    if chances:
        ends.append((float(np.mean([chance[-1] for chance in chances])), "random scores", theme.muted))
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


def soundness_figure(rows: Sequence[SoundnessRow], theme: Theme) -> Figure:
    """Left: what each verifier accepts of its own round's text. Right: reliability curves."""
    figure = Figure(figsize=(9.2, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [3, 2]})
    kinds = (
        ([r.recall for r in rows], "helpful correct accepted", theme.helpful, -0.15),
        ([r.fpr for r in rows], "sneaky incorrect accepted", theme.sneaky, 0.0),
        ([r.worst_case for r in rows], "problems with an accepted incorrect attempt", theme.text, 0.15),
    )
    for shares, label, colour, shift in kinds:
        known = [(i, e) for i, e in enumerate(shares) if e and e.value is not None]
        for i, e in known:
            left.plot([i + shift] * 2, [or_nan(e.low), or_nan(e.high)], color=colour, linewidth=4, alpha=0.3)
        left.plot(
            [i + shift for i, _ in known], [e.value for _, e in known], "o", color=colour, markersize=6, label=label
        )
    left.set_xticks(range(len(rows)), [r.verifier.label for r in rows])
    left.set_ylim(-0.03, 1.03)
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    left.legend(
        frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, labelcolor=theme.muted
    )
    right.plot([0, 1], [0, 1], color=theme.muted, linewidth=0.8)
    ends: list[tuple[float, str, Colour]] = []
    rounds = [r for r in rows if r.verifier != HELD_OUT_JUDGE]
    colours: list[Colour] = [*shades(theme, theme.helpful, len(rounds)), *([theme.muted] * (len(rows) - len(rounds)))]
    for shade, row in zip(colours, rows, strict=True):
        line = [point.observed for point in row.curve]
        right.plot([point.predicted for point in row.curve], line, "o-", markersize=3, linewidth=1.3, color=shade)
        ends.append((line[-1], row.verifier.label, shade))
    right.set_xlabel("probability of being correct, by the score")
    right.set_ylabel("share correct")
    right.set_ylim(-0.03, 1.03)
    end_labels(right, ends)
    return figure


# --- Role probe ------------------------------------------------------------------------------------


def separability_figure(rows: Sequence[SeparabilityRow], theme: Theme) -> Figure:
    """AUC of the role probe by PPO step, round after round, with intervals."""
    rounds = sorted({r.round for r in rows})
    figure = Figure(figsize=(max(2.3 * len(rounds) + 1.6, 5.0), 3.1), layout="constrained")
    axes = figure.subplots(1, len(rounds), sharey=True, squeeze=False)[0]
    for ax, index in zip(axes, rounds, strict=True):
        ends = []
        ax.axhline(0.5, color=theme.muted, linewidth=0.8)
        own = [r for r in rows if r.round == index or r.step == 0]  # every round starts at the base
        for points, label, colour in (
            ([(r.step, r.all) for r in own], "all text", theme.text),
            ([(r.step, r.incorrect) for r in own], "incorrect text", theme.sneaky),
        ):
            line = [(step, e) for step, e in points if e]
            if line:
                x, values = [step for step, _ in line], [or_nan(e.value) for _, e in line]
                low, high = [or_nan(e.low) for _, e in line], [or_nan(e.high) for _, e in line]
                ax.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
                ax.plot(x, values, "o-", color=colour, markersize=4, linewidth=1.5)
                ends.append((values[-1], label, colour))
        ax.set_title(f"round {index}", loc="left", fontweight="bold")
        ax.set_xlabel("PPO step")
        ax.set_ylim(0.3, 1.02)
        if index == rounds[-1]:
            end_labels(ax, ends)
    axes[0].set_ylabel("AUC of the role probe")
    return figure
