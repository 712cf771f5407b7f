"""The experiment's figures: PGR against size ratio, accuracy against training, the auto-aligner's drift."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, PercentFormatter, StrMethodFormatter

from legibility.reporting.drawing import LIGHT, Theme, end_labels, themed

OBJECTIVES = {
    "xent": "helpful",
    "confidence": "sneaky",
    "product": "correctness",
    "bootstrapping": "start",
    "probe": "helpful_soft",
}
MARKERS = "osD^vP"


def figures(summary: dict[str, Any], theme: Theme = LIGHT) -> dict[str, Figure]:
    """Every figure the summary has numbers for, by file name (without ending)."""
    found = {"pgr": pgr_figure(summary["students"], summary["ceiling"], theme), "curves": curves_figure(summary, theme)}
    if summary["auto_aligner"]:
        found["drift"] = drift_figure(summary["auto_aligner"], theme)
    return found


def pgr_figure(students: list[dict[str, Any]], ceilings: list[dict[str, Any]], theme: Theme = LIGHT) -> Figure:
    """Accuracy against student size for the plain students (B Fig. 3), and PGR against size ratio for every objective."""
    plain = [s for s in students if s["teacher"] == "single" and s["oversight"] == "none"]
    with themed(theme):
        figure = Figure(figsize=(11.4, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        weak_names = list(dict.fromkeys(s["sizes"]["weak"] for s in plain))
        ends: list[tuple[float, str, str]] = []
        for k, name in enumerate(weak_names):
            own = sorted(
                (s for s in plain if s["sizes"]["weak"] == name and s["objective"] == "xent"),
                key=lambda s: s["sizes"]["strong_parameters"],
            )
            if own:
                x = [s["sizes"]["strong_parameters"] for s in own]
                y = [s["accuracy"]["value"] for s in own]
                left.plot(x, y, "-", color=theme.helpful, alpha=1 - 0.28 * k)
                for s, place in zip(own, x, strict=True):
                    _bar(left, place * 1.012 ** (k - 1), s["accuracy"], theme.helpful, MARKERS[k % len(MARKERS)])
                ends.append((y[-1], f"taught by {name}", theme.helpful))
        top = sorted((c for c in ceilings if c["objective"] == "xent"), key=lambda c: c["parameters"])
        if top:
            left.plot(
                [c["parameters"] for c in top], [c["accuracy"]["value"] for c in top], color=theme.text, linewidth=1.2
            )
            ends.append((top[-1]["accuracy"]["value"], "ceiling", theme.text))
        left.set_xscale("log")
        sizes = sorted({s["sizes"]["strong_parameters"] for s in plain if s["objective"] == "xent"})
        left.xaxis.set_minor_locator(NullLocator())
        left.set_xticks(sizes, [EngFormatter(places=0, sep="")(n) for n in sizes])
        left.set(xlabel="student parameters", ylabel="test accuracy", title="Students of the plain objective")
        left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        end_labels(left, ends)
        for j, (objective, colour) in enumerate(OBJECTIVES.items()):
            own = [s for s in plain if s["objective"] == objective and s["pgr"]["value"] is not None]
            for s in own:
                x = s["sizes"]["ratio"] * 1.03 ** (j - 2)  # side by side, so that bars do not hide each other
                _bar(
                    right,
                    x,
                    s["pgr"],
                    getattr(theme, colour),
                    MARKERS[weak_names.index(s["sizes"]["weak"]) % len(MARKERS)],
                )
            if own:
                right.plot([], [], "o", color=getattr(theme, colour), label=objective, markersize=5)
        for k, name in enumerate(weak_names):
            if any(s["sizes"]["weak"] == name and s["pgr"]["value"] is not None for s in plain):
                right.plot(
                    [], [], MARKERS[k % len(MARKERS)], color=theme.muted, label=f"taught by {name}", markersize=5
                )
        for level in (0, 1):
            right.axhline(level, color=theme.muted, linewidth=0.9, linestyle=(0, (3, 2)))
        right.set_xscale("log")
        right.xaxis.set_minor_locator(NullLocator())
        right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        shown = [s["pgr"]["value"] for s in plain if s["pgr"]["value"] is not None]
        right.set_ylim(min([-0.5, *(v - 0.1 for v in shown)]), max([1.3, *(v + 0.1 for v in shown)]))
        right.set(
            xlabel="student parameters ÷ weak parameters",
            ylabel="gap recovered (PGR)",
            title="PGR by objective, where defined",
        )
        if shown:
            right.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        return figure


def curves_figure(summary: dict[str, Any], theme: Theme = LIGHT) -> Figure:
    """Test accuracy during training on true and on weak labels, for the widest gap of the grid, one column per objective."""
    plain = [
        s for s in summary["students"] if s["teacher"] == "single" and s["oversight"] == "none" and len(s["curve"]) > 1
    ]
    widest = max((s["sizes"]["ratio"] for s in plain), default=1)
    chosen = {s["objective"]: s for s in plain if s["sizes"]["ratio"] == widest}
    with themed(theme):
        figure = Figure(figsize=(max(4.0, 2.4 * max(1, len(chosen)) + 1.2), 2.9), layout="constrained")
        axes = figure.subplots(1, max(1, len(chosen)), sharey=True, squeeze=False)[0]
        for k, (ax, (objective, s)) in enumerate(zip(axes, chosen.items(), strict=False)):
            x = [p["share"] for p in s["curve"]]
            ax.plot(x, [p["true"] for p in s["curve"]], "-o", color=theme.correctness, markersize=3)
            ax.plot(x, [p["weak"] for p in s["curve"]], "-o", color=theme.sneaky, markersize=3)
            ax.set(title=objective, xlabel="share of training")
            ax.set_xlim(0, 1.03)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            if k == len(chosen) - 1:
                end_labels(
                    ax,
                    [
                        (s["curve"][-1]["true"], "truth", theme.correctness),
                        (s["curve"][-1]["weak"], "weak labels", theme.sneaky),
                    ],
                )
        axes[0].set_ylabel("agreement on test items")
        return figure


def drift_figure(aligner: dict[str, Any], theme: Theme = LIGHT) -> Figure:
    """Agreement with the trusted set and with generation 0, and test accuracy, by generation."""
    drift = aligner["drift"]
    series = (
        ("test_accuracy", "test accuracy", theme.correctness),
        ("trusted_agreement", "trusted set", theme.helpful),
        ("agreement_with_generation_0", "generation 0's labels", theme.sneaky),
    )
    with themed(theme):
        figure = Figure(figsize=(5.4, 3.0), layout="constrained")
        ax = figure.subplots()
        for key, _, colour in series:
            ax.plot([d["generation"] for d in drift], [d[key] for d in drift], "-o", color=colour, markersize=4)
        ax.set_xticks([d["generation"] for d in drift], [f"{d['generation']}\n{d['model']}" for d in drift])
        ax.set(xlabel="generation", ylabel="agreement")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        end_labels(ax, [(drift[-1][key], label, colour) for key, label, colour in series])
        return figure


def _bar(ax: Axes, x: float, estimate: dict[str, Any], colour: str, marker: str) -> None:
    if estimate["low"] is not None:
        ax.plot([x, x], [estimate["low"], estimate["high"]], color=colour, linewidth=1, alpha=0.5)
    ax.plot(x, estimate["value"], marker, color=colour, markersize=5)
