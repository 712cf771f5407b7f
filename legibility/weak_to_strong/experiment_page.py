"""The experiment's page: report.html and figures, made from summary.json alone, with the run report's look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from legibility.errors import UserError
from legibility.files import write_atomic
from legibility.game.run_folder import RunFolder
from legibility.reporting.drawing import DARK, LIGHT
from legibility.reporting.marked_solution import printable
from legibility.reporting.page import CSS_INCH, UNDEFINED, Image, data_url, number, percent, png
from legibility.weak_to_strong.experiment_figures import figures

SCHEMA = 2  # of summary.json


def write_report(run: RunFolder) -> Path:
    """Write `<experiment>/report.html` and `<experiment>/figures/*.png`. Raises UserError without a summary."""
    summary = read_summary(run.path)
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    images, dark = {}, figures(summary, DARK)
    for name, figure in figures(summary, LIGHT).items():
        content = png(figure)
        (folder / f"{name}.png").write_bytes(content)
        images[name] = Image(round(CSS_INCH * figure.get_figwidth()), data_url(content), data_url(png(dark[name])))
    environment = Environment(
        loader=PackageLoader("legibility.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, printable=printable, accuracy=accuracy, gap=gap)
    page = environment.get_template("weak_to_strong.html.j2").render(s=summary, images=images, manifest=run.manifest())
    write_atomic(run.path / "report.html", page)
    return run.path / "report.html"


def read_summary(path: Path) -> dict[str, Any]:
    """An experiment's summary.json. Raises UserError where the experiment is not finished, or of another version."""
    try:
        found = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no summary.json; finish the experiment with legibility weak-to-strong … --resume"
        ) from None
    if found.get("schema") != SCHEMA:
        raise UserError(
            f"{path / 'summary.json'}: schema {found.get('schema')}, this version reads {SCHEMA}; run the experiment again in a new folder"
        )
    return found


def accuracy(estimate: dict[str, Any]) -> str:
    """An accuracy in percent with its interval."""
    if estimate["value"] is None:
        return UNDEFINED
    return f"{100 * estimate['value']:.1f} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]".replace(
        "-", "−"
    )


def gap(estimate: dict[str, Any]) -> str:
    """A PGR with its interval."""
    if estimate["value"] is None:
        return UNDEFINED
    return f"{estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]".replace("-", "−")
