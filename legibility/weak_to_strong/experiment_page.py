"""The experiment's page: report.html and figures, made from summary.json alone, with the run report's look."""

from __future__ import annotations

from pathlib import Path

from legibility.files import write_atomic
from legibility.game.run_folder import RunFolder
from legibility.metrics import NO_INTERVAL
from legibility.reporting.drawing import DARK, LIGHT
from legibility.reporting.images import save_image
from legibility.reporting.page import UNDEFINED, Card, accuracy_bounds, environment, interval, number, percent
from legibility.stored import Interval
from legibility.weak_to_strong.experiment_figures import figures
from legibility.weak_to_strong.experiment_schema import ExperimentSummary, read_summary
from legibility.weak_to_strong.experiment_settings import ALONE, SINGLE


def write_report(run: RunFolder) -> Path:
    """Write `<experiment>/report.html` and `<experiment>/figures/*.png`. Raises UserError without a summary."""
    summary = read_summary(run.path)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    light, dark = figures(summary, LIGHT), figures(summary, DARK)
    images = {name: save_image(folder / f"{name}.png", figure, dark[name]) for name, figure in light.items()}
    templates = environment()
    templates.filters.update(accuracy=accuracy, gap=gap)
    page = templates.get_template("weak_to_strong.html.j2").render(
        s=summary, images=images, manifest=run.manifest(), headline=headline(summary)
    )
    write_atomic(run.path / "report.html", page)
    return run.path / "report.html"


def headline(summary: ExperimentSummary) -> list[Card]:
    """The plain student across the widest gap, its weak teacher and its ceiling; empty without one."""
    plain = [s for s in summary.students if s.plain and s.objective == "xent"]
    if not plain:
        return []
    student = max(plain, key=lambda s: s.sizes.ratio)
    weak = next(w for w in summary.weak if (w.model, w.teacher, w.oversight) == (student.sizes.weak, SINGLE, ALONE))
    ceiling = next(c for c in summary.ceiling if (c.model, c.objective) == (student.sizes.strong, "xent"))
    found = [
        Card(name, percent(e.value), accuracy_bounds(e), colour, meaning)
        for name, e, colour, meaning in (
            (f"weak: {weak.model}", weak.accuracy, "sneaky", "Test accuracy of the weak model alone."),
            (
                f"student: {student.sizes.strong}",
                student.accuracy,
                "helpful",
                "The strong model that learned from the weak model's labels, plain objective, last step.",
            ),
            (
                f"ceiling: {ceiling.model}",
                ceiling.accuracy,
                "correctness",
                "The strong model that learned from the truth.",
            ),
        )
    ]
    gap_recovered = number(student.pgr.value)
    bounds = "" if student.pgr.value is None else interval((student.pgr.low, student.pgr.high), 1, 2)
    meaning = student.pgr.undefined or "Share of the gap between weak model and ceiling that the student recovers."
    return [*found, Card("gap recovered (PGR)", gap_recovered, bounds, "text", f"{meaning.rstrip('.')}.")]


def accuracy(estimate: Interval) -> str:
    """An accuracy in percent with its interval."""
    return _shown(estimate, 100, 1)


def gap(estimate: Interval) -> str:
    """A PGR with its interval."""
    return _shown(estimate, 1, 2)


def _shown(estimate: Interval, scale: int, digits: int) -> str:
    """The value and, in brackets, its interval, times `scale` and with a typographic minus."""
    if estimate.value is None:
        return UNDEFINED
    value = number(scale * estimate.value, digits)
    if estimate.low is None or estimate.high is None:
        return f"{value} ({NO_INTERVAL})"
    return f"{value} [{number(scale * estimate.low, digits)}, {number(scale * estimate.high, digits)}]"
