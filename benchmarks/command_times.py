"""How long each command takes on the default game: one run of each, in a folder of its own.

    python benchmarks/command_times.py                  # prints a table; about 20 minutes on two quiet cores
    python benchmarks/command_times.py --write          # and puts it into docs/how-long.md
    python benchmarks/command_times.py --config tiny.yaml

Wall time, CPU time of the command and all processes it waited for, and what it left on the disk. A machine that other
programs keep busy gives other wall times; CPU times move less.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from legibility.script import run_script

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "how-long.md"
QUESTION = "Tom has 12 marbles. Tom finds 7 more marbles. How many marbles does Tom have now?"


@dataclass(frozen=True)
class Step:
    """A command, as words in which {a}, {b}, {study} … are paths inside the scratch folder. shown: False for mere preparation."""

    words: Sequence[str]
    shown: bool = True


STEPS = (
    Step(("train", "{config}", "--quick", "--out", "{quick}")),
    Step(("train", "{config}", "--out", "{nano}")),
    Step(("report", "{nano}")),
    Step(("ask", "{nano}", QUESTION, "--samples", "1")),
    Step(("export", "{nano}", "--out", "{study}", "--per-condition", "20", "--raters", "12")),
    Step(("simulate-raters", "{study}")),
    Step(("analyze", "{study}", "--simulated")),
    Step(("attack", "{nano}", "--verifier", "0", "--reward", "src", "--quick")),
    Step(("evaluate", "{nano}", "--quick")),
    Step(("train", "{config}", "--quick", "--out", "{other}", "seed=1"), shown=False),
    Step(("compare", "{quick}", "{other}", "--out", "{both}")),
)


@dataclass(frozen=True)
class Took:
    """What a command took. seconds: wall time; cpu: CPU seconds of all its processes; megabytes: left on the disk."""

    command: str
    seconds: float
    cpu: float
    megabytes: float


def run(step: Step, config: Path, scratch: Path) -> Took:
    """Run a command in the scratch folder. Raises RuntimeError where it fails."""
    places = {word[1:-1]: word[1:-1] for s in STEPS for word in s.words if re.fullmatch(r"\{\w+\}", word)}
    words = [word.format(**{**places, "config": str(config)}) for word in step.words]
    before, began = _size(scratch), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "legibility", *words], cwd=scratch, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"legibility {' '.join(words)}: {said.strip()[-300:]}")
    shown = " ".join(f'"{w[:14]}…"' if w == QUESTION else w for w in step.words)
    named = shown.format(**{**places, "config": "configs/nano.yaml" if config.name == "nano.yaml" else config.name})
    return Took(
        f"legibility {named}",
        time.monotonic() - began,
        usage.ru_utime + usage.ru_stime,
        (_size(scratch) - before) / 1e6,
    )


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def table(rows: Sequence[Took], commit: str) -> str:
    """The rows as markdown, with the machine they were measured on."""
    lines = ["| command | wall | CPU | MB written |", "|---|---:|---:|---:|"]
    lines += [f"| `{r.command}` | {_clock(r.seconds)} | {_clock(r.cpu)} | {r.megabytes:,.1f} |" for r in rows]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join(["", *lines, "", f"{cores} cores ({platform.machine()}), one run of each, commit {commit}.", ""])


def _clock(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds + 0.5) // 60} min {int(seconds + 0.5) % 60} s"


def put(page: str, text: str) -> str:
    """The page with the table between its marks. Raises ValueError where it has none."""
    begin, end = "<!-- command_times -->", "<!-- end of command_times -->"
    made, count = re.subn(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{PAGE.name}: no place for the table")
    return made


def main(
    config: Annotated[Path, typer.Option(help="The game to time.")] = ROOT / "configs" / "nano.yaml",
    write: Annotated[bool, typer.Option("--write", help="Put the table into docs/how-long.md.")] = False,
) -> None:
    """Time every command once and print the table."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    rows = []
    with tempfile.TemporaryDirectory(prefix="times-") as name:
        for step in STEPS:
            took = run(step, config.resolve(), Path(name))
            typer.echo(f"{took.command}  {_clock(took.seconds)}, CPU {_clock(took.cpu)}", err=True)
            rows += [took] if step.shown else []
    text = table(rows, commit or "unknown")
    typer.echo(text)
    if write:
        PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
