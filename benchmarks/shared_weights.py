"""What two ranks hold of a PPO step's networks, whole on each and shared (`compute.shard`), and what sharing costs in time.

    python benchmarks/shared_weights.py --json shared.json             # some minutes on two quiet cores
    python benchmarks/shared_weights.py --json shared.json --write     # the stored numbers into docs/gpus.md

Bytes are counted from the tensors that a rank holds between two steps: weights of policy, reference and critic,
gradients, AdamW's moments. Both ways are measured in turns, and the ratio of one run is what counts. The larger model is
the nano prover grown (harness/grow.py), so all write the same text.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from harness import stored, tables
from harness.environments import ROOT, run_module
from harness.grow import grown_folder
from harness.task import Task
from ppo_vs_trl import CACHE, commit, machine, nano_prover

from legibility.errors import UserError
from legibility.script import run_script

PAGE = ROOT / "docs" / "gpus.md"
SIZES = {"0.76m": None, "5m": (256, 6)}
"""Hidden size x layers of the grown prover; None: as it ships."""
WAYS = {"whole on each rank": False, "shared": True}
RANKS = 2


def tasks(cache: Path, chosen: list[str]) -> dict[str, Task]:
    """The step of every size."""
    nano = Task("shared weights", nano_prover(), prompts=32, warm=1, steps=2, threads=1)
    return {
        name: replace(nano, model=grown_folder(nano.model, cache, *SIZES[name]) if SIZES[name] else nano.model)
        for name in chosen
    }


def measured(task: Task, shard: bool) -> dict[str, Any]:
    """What is kept of one way: median seconds of a step, and what every rank held."""
    with tempfile.TemporaryDirectory() as folder:
        task_file, out = Path(folder) / "task.json", Path(folder) / "out.json"
        replace(task, shard=shard).save(task_file)
        run_module(sys.executable, "harness.ours", [str(task_file), str(out), "separate"], Path(folder), 1, RANKS)
        record = json.loads(out.read_text(encoding="utf-8"))
    times = {
        key: statistics.median(s[key] for s in record["steps"]) for key in ("total", "rollout", "scoring", "update")
    }
    return {**times, "held": record["held"], "reward": [s["reward"] for s in record["warm_steps"]]}


def page(result: dict[str, Any]) -> str:
    """The table as Markdown."""
    body = []
    for name, ways in result["sizes"].items():
        whole = ways["whole on each rank"]
        for way, turns in ways.items():
            held = {kind: max(rank[kind] for rank in turns[0]["held"]) for kind in turns[0]["held"][0]}
            all_of = sum(held.values())
            before = sum(max(rank[kind] for rank in whole[0]["held"]) for kind in held)
            ratios = [turn["total"] / other["total"] for turn, other in zip(turns, whole, strict=False)]
            body.append(
                [
                    name if way == "whole on each rank" else "",
                    way,
                    *(f"{held[kind] / 1e6:.2f}" for kind in ("weights", "gradients", "moments")),
                    f"{all_of / 1e6:.2f}",
                    f"{all_of / before:.3f}",
                    *(f"{statistics.median(t[part] for t in turns):.2f}" for part in ("rollout", "scoring", "update")),
                    f"{statistics.median(ratios):.2f} [{min(ratios):.2f}–{max(ratios):.2f}]",
                ]
            )
    where = result["machine"]
    turns = min(len(turns) for ways in result["sizes"].values() for turns in ways.values())
    header = ["parameters", "weights", "weights, MB", "gradients, MB", "moments, MB", "together, MB", "of whole", "sampling, s",
              "scoring, s", "update, s", "step time / whole"]  # fmt: skip
    return "\n\n".join(
        [
            f"{where['processor']}, two ranks of one thread over gloo; commit {result['commit']}; {turns} turns or more of each "
            "way; policy, reference and a critic of its own; the fullest rank between two steps of 128 completions.",
            tables.rows(header, body),
        ]
    )


def main(
    json_file: Annotated[Path, typer.Option("--json", help="File of what was measured; a new one, or to --resume.")],
    size: Annotated[list[str] | None, typer.Option(help=f"Only this size (repeat): {', '.join(SIZES)}.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each way that the file shall hold.")] = 3,
    cache: Annotated[Path, typer.Option(help="Folder of the grown models.")] = CACHE,
    resume: Annotated[bool, typer.Option(help="Go on with the file: what it holds is not measured again.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Put the file's numbers into docs/gpus.md; measure nothing.")] = False,
) -> None:  # fmt: skip
    """Measure, or write what was measured into the documentation."""
    if unknown := set(size or ()) - set(SIZES):
        raise UserError(f"--size {min(unknown)}: unknown; known: {', '.join(SIZES)}")
    if write:
        if not json_file.is_file():
            raise UserError(f"{json_file}: is not there; measure first, without --write")
        tables.fill_file(PAGE, "shared_weights", page(json.loads(json_file.read_text(encoding="utf-8"))))
        return
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "shared_weights", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "sizes": {},
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume)
    for name, task in tasks(cache, size or list(SIZES)).items():
        ways = result["sizes"].setdefault(name, {way: [] for way in WAYS})
        for turn in range(turns):
            for way, shard in WAYS.items():
                if len(ways[way]) <= turn:
                    ways[way].append(measured(task, shard))
                    stored.store(json_file, result)
                    typer.echo(f"{name}, {way}: {ways[way][-1]['total']:.2f} s, {ways[way][-1]['held']}")


if __name__ == "__main__":
    run_script(main)
