"""A table of the headline numbers of several runs of one config (seeds side by side), in Markdown.

    python scripts/seed_table.py runs/nano-seed0 runs/nano-seed1 runs/nano-seed2
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer


def main(runs: Annotated[list[Path], typer.Argument(help="Run folders with summary.json.")]) -> None:
    summaries = [json.loads((run / "summary.json").read_text(encoding="utf-8")) for run in runs]
    print("| | " + " | ".join(f"seed {s['seed']}" for s in summaries) + " | mean |")
    print("|---|" + "---|" * (len(summaries) + 1))
    row("start accuracy (helpful)", [s["arms"]["init"]["accuracy"] for s in summaries])
    rounds = min(len(s["arms"]["game"]["rounds"]) for s in summaries)
    for i in range(rounds):
        here = [s["arms"]["game"]["rounds"][i] for s in summaries]
        row(f"round {i}: helpful accuracy", [r["helpful_accuracy"] for r in here])
        row(f"round {i}: sneaky accuracy", [r["sneaky_accuracy"] for r in here])
        row(f"round {i}: steps to exploit (– never)", [r["steps_to_exploit"] for r in here], digits=0)
        row(f"round {i}: steps", [r["steps"] for r in here], digits=0)
    for i in range(1, rounds):
        now = [s["arms"]["game"]["rounds"][i]["verifier"]["auroc_previous_round"] for s in summaries]
        before = [s["arms"]["game"]["rounds"][i - 1]["verifier"]["auroc_own_round"] for s in summaries]
        for part in ("pooled", "helpful", "sneaky"):
            print_cells(
                f"AUROC on round {i - 1} text, {part}: verifier {i - 1} -> {i}",
                [f"{number(b[part])} -> {number(n[part])}" for b, n in zip(before, now, strict=True)],
                f"{mean([b[part] for b in before])} -> {mean([n[part] for n in now])}",
            )
    if all("correctness" in s["arms"] for s in summaries):
        row("correctness-only accuracy", [s["arms"]["correctness"]["accuracy"] for s in summaries])
        for key, title in (("legibility_tax", "legibility tax"), ("retained_gain", "retained gain")):
            values = [s[key] for s in summaries]
            print_cells(
                title,
                [f"{number(v['value'])} [{number(v['low'])}, {number(v['high'])}]" for v in values],
                mean([v["value"] for v in values]),
            )
        for judge in ("last_verifier", "held_out_judge"):
            for arm in ("init", "game", "correctness"):
                got = [
                    (s["arms"]["game"]["rounds"][-1] if arm == "game" else s["arms"][arm])["checkability"].get(judge)
                    for s in summaries
                ]
                row(f"checkability by {judge.replace('_', ' ')}: {arm}", got)
    row("minutes", [s["wall_seconds"] / 60 for s in summaries], digits=1)
    row("peak memory (MB)", [s["peak_memory_mb"] for s in summaries], digits=0)


def row(title: str, values: list[float | None], digits: int = 3) -> None:
    print_cells(title, [number(v, digits) for v in values], mean(values, digits))


def print_cells(title: str, cells: list[str], last: str) -> None:
    print(f"| {title} | " + " | ".join(cells) + f" | {last} |")


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def mean(values: list[float | None], digits: int = 3) -> str:
    """Mean over the seeds that have the number; says how many, if not all."""
    known = [v for v in values if v is not None]
    if not known:
        return "–"
    shown = f"{np.mean(known):.{digits}f}"
    return shown if len(known) == len(values) else f"{shown} ({len(known)} of {len(values)})"


if __name__ == "__main__":
    typer.run(main)
