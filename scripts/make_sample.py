"""The small sample of generated problems in data/sample/, with a right and a flawed solution of each.

python scripts/make_sample.py --check             # exit 1 where the file is not what the generator writes
python scripts/make_sample.py --write             # write data/sample/problems.jsonl again
python scripts/make_sample.py --out mine.jsonl    # a new file somewhere else
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from legibility.files import write_atomic
from legibility.problems.generator import FAMILIES, flawed_solution, generate_problems, worked_solution
from legibility.problems.storage import problem_record
from legibility.script import run_script

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "problems.jsonl"
COUNT, SEED = 112, 2024


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is out of date.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write data/sample/problems.jsonl again.")] = False,
    out: Annotated[Path | None, typer.Option(help="New file to write instead.")] = None,
) -> None:
    """Make the sample of data/sample/ again. Without an option nothing is written."""
    text = sample()
    if out is not None and out.exists():
        raise typer.BadParameter(f"{out} exists; choose another --out")
    if out is not None or write:
        target = out or SAMPLE
        write_atomic(target, text)
        typer.echo(f"{target}: {COUNT} problems")
        return
    same = SAMPLE.is_file() and SAMPLE.read_text(encoding="utf-8") == text
    typer.echo(f"{SAMPLE}: {'up to date' if same else 'not what this script makes; --write writes it'}")
    if check and not same:
        raise typer.Exit(1)


def sample() -> str:
    """The file's text."""
    return "".join(json.dumps(record) + "\n" for record in _records())


def _records() -> Iterator[dict[str, object]]:
    rng = np.random.default_rng(SEED)
    for i, family in enumerate(FAMILIES):
        for problem in generate_problems(
            COUNT // len(FAMILIES), SEED + i, families=[family], prefix=f"sample-{family}"
        ):
            flawed, flaw = flawed_solution(problem, rng)
            yield problem_record(problem) | {
                "other_style": worked_solution(problem, rng),
                "flawed": flawed,
                "flaw": flaw,
            }


if __name__ == "__main__":
    run_script(main)
