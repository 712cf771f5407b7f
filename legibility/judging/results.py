"""The files of an analysis: results.json, CSV tables, figures, and one self-contained results.html."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from legibility.files import write_atomic
from legibility.game.condition import CORRECTNESS, INIT, Condition, Judge
from legibility.judging.agreement import PEOPLE
from legibility.judging.protocol import Protocol
from legibility.judging.results_schema import ConditionResult, RaterResult, StudyResults
from legibility.judging.spreadsheet import inert_csv
from legibility.reporting.drawing import DARK, LIGHT, Theme, themed
from legibility.reporting.images import save_image
from legibility.reporting.page import environment
from legibility.stored import Interval, Stored, write_stored

WATERMARK = "SIMULATED RATERS, NOT PEOPLE"


def write_results(folder: Path, rules: Protocol, results: StudyResults) -> Path:
    """Write everything into `folder`; returns the page's path. rules: the study's protocol, told on the page."""
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_stored(folder / "results.json", results)
    write_atomic(folder / "conditions.csv", inert_csv(_flat(results.conditions)))
    write_atomic(folder / "differences.csv", inert_csv(_flat(results.differences)))
    write_atomic(folder / "raters.csv", inert_csv(_flat(results.raters)))
    images = {}
    for name, draw in (("accuracy", accuracy_figure), ("errors", errors_figure)):
        images[name] = save_image(folder / "figures" / f"{name}.png", draw(results, LIGHT), draw(results, DARK))
    templates = environment("legibility.judging")
    templates.filters.update(judge=_judge, condition=_condition, term=_term, by_name=by_name)
    page = templates.get_template("results.html.j2").render(r=results, rules=rules, images=images)
    write_atomic(folder / "results.html", page)
    return folder / "results.html"


def _judge(name: str) -> str:
    """A key of `verifiers` for people."""
    return name if name == PEOPLE else Judge.parse(name).label


def _condition(name: str) -> str:
    """A condition as files have it, for people."""
    return Condition.parse(name).label


def _term(name: str) -> str:
    """A term of the mixed model for people."""
    found = re.fullmatch(r"C\(condition\)\[T\.(.*)\]", name)
    return _condition(found[1]) if found else _TERMS.get(name, name)


_TERMS = {"Intercept": "intercept", "correct": "right solution", "log_length": "log length"}


def by_name(raters: Sequence[RaterResult]) -> list[RaterResult]:
    """Raters with the numbers in their names in order: 2 before 10."""
    return sorted(
        raters,
        key=lambda r: [(len(part), part) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", r.rater)],
    )


def _flat(records: Sequence[Stored]) -> pd.DataFrame:
    """A row per record; an estimate x becomes three columns: x, x_low, x_high."""
    rows = []
    for record in records:
        row: dict[str, Any] = {}
        for name, value in record:
            if isinstance(value, Interval):
                row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            else:
                row[name] = value
        rows.append(row)
    return pd.DataFrame(rows)


def colour(condition: ConditionResult, theme: Theme) -> str:
    """The report's colours: helpful blue, sneaky orange, correctness-only green, start grey."""
    by_arm = {INIT: theme.start, CORRECTNESS: theme.correctness}
    return theme.sneaky if condition.condition.sneaky else by_arm.get(condition.arm, theme.helpful)


def accuracy_figure(results: StudyResults, theme: Theme = LIGHT) -> Figure:
    """Accuracy of the raters, one row per condition."""
    return _rows(results, theme, [("accuracy", "accuracy of raters", "o")], chance=True)


def errors_figure(results: StudyResults, theme: Theme = LIGHT) -> Figure:
    """False accepts (left) and false rejects (right), one row per condition."""
    return _rows(
        results,
        theme,
        [("false_accept", "wrong solutions accepted", "o"), ("false_reject", "right solutions rejected", "s")],
    )


def _rows(results: StudyResults, theme: Theme, panels: list[tuple[str, str, str]], chance: bool = False) -> Figure:
    everyone = results.without_exclusion
    conditions = results.conditions or (everyone.conditions if everyone else [])  # with all excluded the page says so
    with themed(theme):
        figure = Figure(figsize=(7.2, 1.3 + 0.36 * len(conditions)), layout=ConstrainedLayoutEngine(wspace=0.08))
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for ax, (name, title, marker) in zip(axes, panels, strict=True):
            ax.grid(True, axis="x")
            ax.grid(False, axis="y")
            if chance:
                ax.axvline(0.5, color=theme.muted, linewidth=0.8, linestyle=(0, (2, 2)))
            for y, condition in enumerate(conditions):
                estimate, shade = getattr(condition, name), colour(condition, theme)
                if estimate.value is None:
                    continue
                if estimate.low is not None:
                    ax.plot([estimate.low, estimate.high], [y, y], color=shade, linewidth=2.2, solid_capstyle="butt")
                ax.plot(estimate.value, y, marker, color=shade, markersize=7)
            ax.set_title(title, loc="left")
            ax.xaxis.set_major_formatter(PercentFormatter(1.0))
            ax.set_xlim(-0.03, 1.03)
            ax.set_xticks([0, 0.25, 0.5, 0.75, 1] if chance else [0, 0.5, 1])
            ax.set_ylim(len(conditions) - 0.5, -0.5)
            ax.set_yticks(range(len(conditions)), [c.label for c in conditions])
        if results.simulated:
            figure.suptitle(WATERMARK, color=theme.sneaky, fontweight="bold", fontsize=10)
        return figure
