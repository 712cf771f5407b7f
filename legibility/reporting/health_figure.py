"""Health of training: diagnostics of every PPO step, phase after phase."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from legibility.game.condition import CORRECTNESS
from legibility.reporting.data import Phase, ReportData
from legibility.reporting.drawing import LIGHT, LineStyle, Theme, end_labels, series, themed


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
        figure = Figure(figsize=(9.6, 10.0), layout="constrained")
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
        figure.supxlabel("PPO step of each phase", fontsize=9, color=theme.muted)
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
    """Step numbers, counted anew in every phase, and below them the phases' names."""
    for offset in offsets[1:]:
        ax.axvline(offset - 1, color=theme.grid, linewidth=1, zorder=0)
    steps = [(o + step, step) for p, o in zip(phases, offsets, strict=True) for step in _ticked(p, len(phases))]
    ax.set_xticks([place for place, _ in steps], [str(step) for _, step in steps], fontsize=7)
    ax.set_xticks(
        [o + (len(p.steps) + 1) / 2 for p, o in zip(phases, offsets, strict=True)],
        ["correctness" if p.arm == CORRECTNESS else p.title for p in phases],
        fontsize=8,
        rotation=30 if len(phases) > 6 else 0,
        minor=True,
    )
    ax.tick_params(axis="x", which="major", length=2, pad=2)
    ax.tick_params(axis="x", which="minor", length=0, pad=13)
    ax.set_xlim(-1, total)


def _ticked(phase: Phase, phases: int) -> list[int]:
    """The steps of a phase that are numbered: the last, and the middle one where there is room."""
    last = int(phase.steps.index.max())
    return sorted({last} if phases > 6 else {max(1, round(last / 2)), last})
