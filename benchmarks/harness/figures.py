"""Figures of stored results."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from harness import laws, results

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import ticker

SWEEPS = {  # sweep -> key of a point, label
    "model size": ("parameters", "parameters"),
    "completions": ("completions", "completions a step"),
    "answer length": ("mean_length", "mean answer length (tokens)"),
    "samples a prompt": ("samples", "samples a prompt"),
}


def learning(result: Mapping[str, Any], path: Path) -> None:
    """Helpful accuracy against steps and against seconds, averaged over seeds. Draws nothing where nothing was learnt."""
    if not result.get("learning"):
        return
    figure, (by_step, by_time) = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    for name, records in result["learning"].items():
        runs = [record["steps"] for record in records]
        accuracy = _smooth([statistics.mean(s["accuracy_helpful"] for s in step) for step in zip(*runs, strict=True)])
        seconds = list(
            itertools.accumulate(statistics.mean(s["total"] for s in step) for step in zip(*runs, strict=True))
        )
        style = {"linestyle": "-" if name.startswith("ours") else "--", "label": results.TRAINERS[name]}
        by_step.plot(range(1, len(accuracy) + 1), accuracy, **style)
        by_time.plot(seconds, accuracy, **style)
    by_step.set(xlabel="steps", ylabel="helpful accuracy (mean of 5 steps)")
    by_time.set(xlabel="seconds")
    by_time.legend(fontsize=8)
    for panel in (by_step, by_time):
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def scaling(result: Mapping[str, Any], path: Path) -> None:
    """Measured seconds of every sweep, and the fitted law through the same points."""
    law, default = result["laws"]["seconds"], result["points"][0]
    figure, panels = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
    for panel, (sweep, (key, label)) in zip(panels, SWEEPS.items(), strict=True):
        points = sorted([default, *(p for p in result["points"] if p["sweep"] == sweep)], key=lambda p: p[key])
        x = [p[key] for p in points]
        panel.loglog(x, [p["seconds"] for p in points], "o", color="C0", label="measured")
        panel.loglog(x, [laws.predict(law, p["parameters"], p["tokens"]) for p in points], "-", color="C1", label="law")
        panel.set_xlabel(label)
        panel.set_xticks(x, [f"{v / 1e6:.3g} M" if v > 1e5 else f"{v:.3g}" for v in x], fontsize=8)
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5)))
        panel.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_minor_formatter(ticker.NullFormatter())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds a step")
    panels[0].legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def ranks(panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], path: Path) -> None:
    """Times as fast as one rank against the number of ranks: a panel a step, a line a link (ranks, speed-up)."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 3.4), sharey=True, layout="constrained")
    for axis, (title, lines) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        most = max(n for line in lines.values() for n, _ in line)
        axis.plot([1, most], [1, most], color="0.7", linestyle=":", label="as many times as ranks")
        axis.axhline(1, color="0.7", linewidth=0.8)
        for name, line in lines.items():
            axis.plot(*zip(*line, strict=True), **({"marker": "o", "linestyle": ""} if name == "measured" else {}), label=name)  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2)
        axis.set(xlabel="ranks", title=title)
        for ax in (axis.xaxis, axis.yaxis):
            ax.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_ylim(0.25, 1.2 * most)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    np.atleast_1d(axes)[0].set_ylabel("times as fast as one rank")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _smooth(values: list[float], window: int = 5) -> list[float]:
    """Mean of the last `window` values at every place."""
    return [statistics.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
