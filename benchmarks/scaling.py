"""Seconds per step of this package against model size, completions, answer length and samples a prompt.

    python benchmarks/scaling.py --json scaling.json --figure scaling.png         # tens of minutes on 2 cores
    python benchmarks/scaling.py --largest 6 --json small.json                      # minutes: up to 6 M parameters
    python benchmarks/scaling.py --json scaling.json --resume --sweep "model size"  # one sweep, added to what is there

One setting at a time moves away from the nano default. Larger models are the nano prover grown
(`harness/grow.py`), so they write the same text. Runs in the Python it is started with; every point
is a process of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from harness import figures, laws, results, stored, tables
from harness.environments import run_module
from harness.grow import grown_folder
from harness.task import Task
from ppo_vs_trl import CACHE, commit, machine, matmul_peak, nano_prover

from legibility.errors import UserError
from legibility.script import run_script

SIZES = (
    (192, 4),
    (256, 6),
    (384, 8),
    (512, 12),
    (768, 17),
)  # hidden x layers beyond the nano prover's 128 x 3: 2 … 131 M
ANSWERS = {"2 steps": ((2, 1.0),), "4 steps": ((4, 1.0),), "6 steps": ((6, 1.0),)}


def tasks(cache: Path, threads: int, largest: float, steps: int) -> list[tuple[str, Task]]:
    """(sweep, task) of every point; `largest` in millions of parameters."""
    nano = Task("scaling", nano_prover(), threads=threads, warm=1, steps=steps, max_new_tokens=144)
    points = [("default", nano)]
    for hidden, layers in SIZES:
        millions = 13 * hidden**2 * layers / 1e6  # attention 4, feed-forward 9 squares a layer
        if millions <= largest:
            measured = steps if millions < 10 else 1
            points.append(
                ("model size", replace(nano, model=grown_folder(nano.model, cache, hidden, layers), steps=measured))
            )
    points += [("completions", replace(nano, prompts=n)) for n in (16, 32, 128)]
    points += [("answer length", replace(nano, problem_steps=weights)) for weights in ANSWERS.values()]
    points += [("samples a prompt", replace(nano, prompts=256 // n, samples=n)) for n in (1, 2, 8, 16)]
    return points


def described(task: Task) -> dict[str, Any]:
    """The task as JSON keeps it, its model by name."""
    return json.loads(json.dumps({**asdict(task), "model": Path(task.model).name}))


def point(sweep: str, record: dict[str, Any], task: Task, peak: float) -> dict[str, Any]:
    """What is kept of one worker's record."""
    s = results.summarise([record], task.epochs, peak)
    size = record["parameters"]
    return {
        "sweep": sweep, "task": described(task), "parameters": size["body"] + size["head"], "completions": task.completions, "samples": task.samples,
        "tokens": sum(x["prompt_tokens"] + x["generated_tokens"] for x in record["steps"]) / len(record["steps"]),
        **{k: s[k] for k in ("seconds", *results.PHASES, "mean_length", "longest", "peak_mb", "matmul_fraction", "steps")},
    }  # fmt: skip


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write points and laws to this new file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw them into this new file.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of the grown models.")] = CACHE,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    largest: Annotated[float, typer.Option(help="Largest model, in millions of parameters.")] = 135,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps a point (1 from 10 M parameters on).")] = 3,
    sweep: Annotated[
        list[str] | None, typer.Option(help=f"Only the default and this one (repeat): {', '.join(figures.SWEEPS)}.")
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with the --json file: points that it holds are not measured again.")
    ] = False,
) -> None:
    if unknown := set(sweep or ()) - set(figures.SWEEPS):
        raise UserError(f"--sweep {min(unknown)}: unknown; known: {', '.join(figures.SWEEPS)}")
    if figure is not None and figure.exists():
        raise UserError(f"{figure}: exists already; give a new file or move it away")
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "scaling", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "threads": threads, "matmul_gflops": None, "points": [], "laws": {},
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume)
    if result["matmul_gflops"] is None:
        result["matmul_gflops"] = matmul_peak(Path(sys.executable), threads)
    measured = [(p["sweep"], p["task"]) for p in result["points"]]
    for name, task in tasks(cache, threads, largest, steps):
        if (sweep and name not in ("default", *sweep)) or (name, described(task)) in measured:
            continue
        with tempfile.TemporaryDirectory() as folder:
            task_file, out = Path(folder) / "task.json", Path(folder) / "out.json"
            task.save(task_file)
            run_module(sys.executable, "harness.ours", [str(task_file), str(out), "detached"], Path(folder), threads)
            record = json.loads(out.read_text(encoding="utf-8"))
        result["points"].append(point(name, record, task, result["matmul_gflops"]))
        typer.echo(f"{name}: {result['points'][-1]['parameters'] / 1e6:.2f} M, {task.prompts} x {task.samples}, "
                   f"{result['points'][-1]['seconds']:.2f} s a step")  # fmt: skip
        if laws.can_fit(result["points"]):
            result["laws"] = {phase: laws.fit(result["points"], phase) for phase in ("seconds", *results.PHASES)}
        stored.store(json_file, result)
    if figure is not None:
        if not result["laws"]:
            raise UserError(
                "--figure: the law needs at least 4 points of several model sizes and lengths; measure more sweeps"
            )
        figures.scaling(result, figure)
    typer.echo("\n" + tables.scaling(result))


if __name__ == "__main__":
    run_script(main)
