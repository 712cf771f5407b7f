"""What `legibility plan --cpu` says of a PPO step, against measured steps of three sizes.

    python benchmarks/plan_check.py --json plan_check.json       # about four CPU minutes
    python benchmarks/plan_check.py --write                      # and put the table into docs/plan.md

Every size is a process of one thread that first measures the machine as the command does and then makes PPO steps of
the nano game; the two larger ones are the nano prover grown (harness/grow.py), so the texts are the same. The
utilization is calibrated on the middle size's update alone; everything else of the plan is as anybody gets it. The plan
is told how long prompts and answers were, since nobody can know that before.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from harness import stored, tables
from harness.environments import ROOT, run_module
from harness.grow import grown_folder
from harness.parts import PARTS, settings
from harness.task import Task
from ppo_vs_trl import CACHE, commit, machine, nano_prover

from legibility.config import ComputeSettings, Config
from legibility.errors import UserError
from legibility.planning.amounts import GamePartSizes, Lengths
from legibility.planning.devices import Device
from legibility.planning.footprint import prover_memory
from legibility.planning.game_plan import shapes
from legibility.planning.phase_times import Clock, Rank
from legibility.script import run_script

PAGE = ROOT / "docs" / "plan.md"
SIZES = (("nano", None, 4), ("5m", (256, 6), 2), ("15m", (384, 8), 1))
"""Name, hidden size x layers of the grown model, measured steps."""


@dataclass(frozen=True)
class Planned:
    """What the plan says of a step: seconds by part, and megabytes."""

    seconds: dict[str, float]
    memory_mb: float


def tasks(cache: Path) -> dict[str, Task]:
    """A task of every size."""
    nano = Task("plan", nano_prover(), threads=1, warm=1, prompts=32)
    return {
        name: replace(nano, steps=steps, model=grown_folder(nano.model, cache, *size) if size else nano.model)
        for name, size, steps in SIZES
    }


def planned(task: Task, measured: dict[str, Any], utilization: float) -> Planned:
    """The plan of one step, on the machine as it was measured beside the step."""
    config = Config(
        prover=Config().prover.model_copy(update={"model": task.model}),
        sampling=Config().sampling.model_copy(update={"max_new_tokens": task.max_new_tokens}),
        ppo=settings(task),
        compute=ComputeSettings(),
    )
    device = Device(**measured["device"])
    lengths = Lengths(measured["prompt"], measured["answer"], task.max_new_tokens, measured["prompt_for_verifier"])
    models = shapes(config)
    rank, clock = Rank(config, models, lengths, GamePartSizes(1, 1, 1, 1), device, 1), Clock(device, utilization, 1)
    work = {
        "sampling": rank.draw(task.prompts, task.samples),
        "verifier": rank.judge_texts(models.verifier, config.verifier, task.completions, 2 * task.samples),
        "scoring": rank.score(),
        "update": rank.update(),
    }
    # memory takes the longest answers there may be; here those there were
    real = config.model_copy(
        update={"sampling": config.sampling.model_copy(update={"max_new_tokens": measured["longest_minibatch"]})}
    )
    return Planned(
        {part: clock.record(part, 1, work[part], "float32").seconds for part in PARTS},
        prover_memory(real, models, lengths, device, 1).peak / 1e6,
    )


def calibrated(task: Task, measured: dict[str, Any]) -> float:
    """The utilization at which the plan's update of this size takes what it took, found by halving."""
    low, high = 0.05, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        fast = planned(task, measured, middle).seconds["update"] < measured["seconds"]["update"]
        low, high = (low, middle) if fast else (middle, high)
    return (low + high) / 2


def table(result: dict[str, Any]) -> str:
    """The comparison as Markdown."""
    head = ["size", "part", "measured s", "planned s", "planned / measured"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---:|---:|---:|"]
    for name, point in result["points"].items():
        rows = [(part, point["measured"]["seconds"][part], point["planned"]["seconds"][part]) for part in PARTS]
        rows.append(("**whole step**", sum(r[1] for r in rows), sum(r[2] for r in rows)))
        lines += [f"| {name} | {part} | {there:.2f} | {said:.2f} | {said / there:.2f} |" for part, there, said in rows]
        there, said = point["measured"]["memory_mb"], point["planned"]["memory_mb"]
        lines.append(f"| {name} | memory, MB | {there:.0f} | {said:.0f} | {said / there:.2f} |")
    first = next(iter(result["points"].values()))["measured"]
    where = result["machine"]
    return "\n".join(
        [
            f"{where['processor']}, one thread of {where['cores']} cores that other jobs used too; commit {result['commit']}. "
            f"Products {first['device']['float32'] / 1e9:.0f} GFLOP/s, elementwise {first['device']['bandwidth'] / 1e9:.1f} GB/s, "
            f"{first['device']['call_seconds'] * 1e6:.1f} µs an operation, as the first size measured them. "
            f"Utilization {result['utilization']:.2f}, calibrated on the update of 5m alone. "
            f"Prompts of {first['prompt']:.0f} tokens, answers of {first['answer']:.0f}.",
            "",
            *lines,
        ]
    )


def main(
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was measured to this new file.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of the grown models.")] = CACHE,
    write: Annotated[bool, typer.Option("--write", help="Put the table into docs/plan.md.")] = False,
) -> None:
    """Measure steps of three sizes and set them beside the plan."""
    if json_file is not None and json_file.exists():
        raise UserError(f"{json_file}: exists already; give a new file or move it away")
    measured = {}
    wanted = tasks(cache)
    for name, task in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            task_file, out = Path(folder) / "task.json", Path(folder) / "out.json"
            task.save(task_file)
            run_module(sys.executable, "harness.parts", [str(task_file), str(out)], Path(folder), 1)
            measured[name] = json.loads(out.read_text(encoding="utf-8"))
        typer.echo(f"{name}: {sum(measured[name]['seconds'].values()):.2f} CPU s a step")
    utilization = calibrated(wanted["5m"], measured["5m"])
    result = {
        "schema": 1, "benchmark": "plan_check", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "utilization": utilization,
        "points": {
            name: {"measured": measured[name], "planned": asdict(planned(task, measured[name], utilization))}
            for name, task in wanted.items()
        },
    }  # fmt: skip
    stored.store(json_file, result)
    typer.echo("\n" + table(result))
    if write:
        tables.fill_file(PAGE, "plan_check", table(result))


if __name__ == "__main__":
    run_script(main)
