"""Write the tables and figures of docs/performance.md from stored results, and nothing else.

    python benchmarks/fill_tables.py            # rewrite what stands between the page's marks, redraw the figures
    python benchmarks/fill_tables.py --check    # exit 1 if the tables are out of date

Reads `benchmarks/results/NAME.json` for every mark `<!-- NAME -->` of the page; a mark without a file
says that nothing has been measured yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from harness import figures, tables
from harness.environments import ROOT

from legibility.script import run_script

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
MAKERS = {"ppo_vs_trl": tables.versus, "scaling": tables.scaling}
DRAWN = {"ppo_vs_trl": figures.learning, "scaling": figures.scaling}


def table(path: Path) -> str:
    """The tables of one stored result."""
    if not path.is_file():
        return "*Not measured yet.*"
    result = json.loads(path.read_text(encoding="utf-8"))
    return MAKERS[result["benchmark"]](result)


def render(page: str, folder: Path = RESULTS) -> str:
    """The page with every mark filled."""
    names = re.findall(r"<!-- ([\w-]+) -->", page)
    made: dict[str, Callable[[], str]] = {name: partial(table, folder / f"{name}.json") for name in names}
    return tables.fill(page, made)


def main(check: Annotated[bool, typer.Option(help="Only compare.")] = False) -> None:
    text = PAGE.read_text(encoding="utf-8")
    if check:
        raise typer.Exit(0 if render(text) == text else 1)
    PAGE.write_text(render(text), encoding="utf-8")
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        draw = DRAWN.get(result["benchmark"])
        if draw is not None and (result["benchmark"] != "ppo_vs_trl" or result["learning"]):
            draw(result, FIGURES / f"{path.stem}.png")


if __name__ == "__main__":
    run_script(main)
