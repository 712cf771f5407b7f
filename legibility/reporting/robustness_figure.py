"""What verifiers accept of fresh attackers' text, by PPO steps and by KL from the attacker's start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from legibility.evaluation.attack_schema import RobustnessRow
from legibility.evaluation.attacks_over_seeds import At, attacks_of, common_target, robustness_of
from legibility.evaluation.summary_schema import Summary
from legibility.evaluation.text_sets import REWARDS, reward_label
from legibility.reporting.drawing import Colour, Theme, end_labels, or_nan, shades

AXES: tuple[tuple[At, str], ...] = (("steps", "PPO steps"), ("kl", "KL from the attacker's start, nats"))


def robustness_figure(rows: Sequence[RobustnessRow], theme: Theme) -> Figure | None:
    """A column per reward, by steps above and by KL below; a line per verifier (mean over attacks) and a dot per attack.

    The band is the interval over problems where a verifier has one attack. Dashed: what a verifier that knows nothing
    accepts, its recall. None where no row has a rate.
    """
    known = [r for r in rows if r.fpr is not None]
    if not known:
        return None
    rewards = [r for r in REWARDS if any(x.reward == r for x in known)]
    verifiers = sorted({r.verifier for r in known})
    colours = dict(zip(verifiers, shades(theme, theme.helpful, len(verifiers)), strict=True))
    figure = Figure(figsize=(max(2.9 * len(rewards) + 0.9, 4.4), 5.6), layout="constrained")
    panels = figure.subplots(2, len(rewards), sharey=True, squeeze=False)
    for line, (at, label) in zip(panels, AXES, strict=True):
        for ax, reward in zip(line, rewards, strict=True):
            _panel(ax, [r for r in known if (r.at, r.reward) == (at, reward)], colours, theme)
            ax.set_xlabel(label)
            if at == "steps":
                ax.set_title(reward_label(reward), loc="left")
        line[0].set_ylabel("incorrect text accepted")
    return figure


def _panel(ax: Axes, rows: Sequence[RobustnessRow], colours: dict[int, Colour], theme: Theme) -> None:
    ax.set_xscale("log", base=2)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    targets = sorted({r.target for r in rows})
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(FixedLocator(targets))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    for recall in {r.recall for r in rows}:
        ax.axhline(recall, color=theme.muted, linewidth=0.8, linestyle="--")
    ends: list[tuple[float, str, Colour]] = []
    for verifier, colour in colours.items():
        mine = [r for r in rows if r.verifier == verifier]
        if not mine:
            continue
        places = sorted({r.target for r in mine})
        found = [[r for r in mine if r.target == place] for place in places]
        means = [float(np.mean([or_nan(r.fpr) for r in at])) for at in found]
        if all(len(at) == 1 for at in found):
            low, high = [or_nan(at[0].low) for at in found], [or_nan(at[0].high) for at in found]
            ax.fill_between(places, low, high, color=colour, alpha=0.13, linewidth=0)
        ax.plot([r.target for r in mine], [or_nan(r.fpr) for r in mine], "o", color=colour, markersize=2.5, alpha=0.5)
        ax.plot(places, means, "-", color=colour, linewidth=1.6)
        ends.append((means[-1], f"verifier {verifier}", colour))
    end_labels(ax, ends)


def last_rates(summary: Summary) -> list[RobustnessRow]:
    """A run's rates at the furthest steps and the furthest KL that all attacks with a reward share."""
    rows, found = robustness_of(summary), []
    for reward in REWARDS:
        verifiers = sorted({a.verifier for a in attacks_of([summary]) if a.reward == reward})
        for at, _ in AXES:
            target = common_target([summary], reward, verifiers, at)
            found += [r for r in rows if (r.reward, r.at, r.target) == (reward, at, target)]
    return found
