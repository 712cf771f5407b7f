"""Are two runs the same game? Compares weights, completions and metrics of two folders byte for byte.

    python scripts/same_runs.py runs/before runs/after

For refactors: a change of structure must not change a game. Folders of games and of weak-to-strong experiments
alike; what names a moment, a machine or a version is not compared (manifest.json, DONE, config.yaml,
resources.json), nor what is drawn from the rest (reports, figures, summaries). Exit code 1 where a file
differs or stands in one folder only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from legibility.script import run_script

COMPARED = {".safetensors", ".parquet", ".jsonl", ".npz"}


def main(
    before: Annotated[Path, typer.Argument(help="Folder of the first run.")],
    after: Annotated[Path, typer.Argument(help="Folder of the second run.")],
) -> None:
    """Print every file that differs, and how many are the same."""
    first, second = files(before), files(after)
    lonely = sorted(first.keys() ^ second.keys())
    both = sorted(first.keys() & second.keys())
    different = [name for name in both if first[name].read_bytes() != second[name].read_bytes()]
    for name in lonely:
        typer.echo(f"only in {before if name in first else after}: {name}")
    for name in different:
        typer.echo(f"differs: {name}")
    typer.echo(
        f"{len(both) - len(different)} files the same, {len(different)} different, {len(lonely)} in one run only"
    )
    if different or lonely or not both:
        raise typer.Exit(1)


def files(folder: Path) -> dict[str, Path]:
    """The files to compare, by path inside the folder."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.suffix in COMPARED and path.is_file() and "scores" not in path.parts
    }


if __name__ == "__main__":
    run_script(main)
