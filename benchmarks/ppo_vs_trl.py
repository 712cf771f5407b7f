"""One reinforcement-learning step of this package beside TRL's, on the same work and the same machine.

    python benchmarks/ppo_vs_trl.py --quick --json quick.json    # under 5 minutes once the environments exist
    python benchmarks/ppo_vs_trl.py --json full.json             # two length mixes, three sizes, learning check: an hour or two
    python benchmarks/ppo_vs_trl.py --json full.json --resume --workload nano-long   # one part of it, added to what is there
    python benchmarks/ppo_vs_trl.py --ranks 2 --workload nano --json ranks.json      # every trainer as two ranks of torchrun

The first run makes two virtual environments (TRL 1.12 for PPO, its last version with it; TRL 1.16 for
GRPO and RLOO), equal in torch and transformers. Every trainer is a process of its own there, they
take turns, and all get the same prompts in the same order, the same policy and the same verifier as
reward. Read docs/performance.md before quoting a number, and run it on an idle machine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from harness import figures, results, stored, tables
from harness.environments import ROOT, environment, run_module
from harness.grow import grown_folder
from harness.task import Task
from pydantic import ValidationError

from legibility.config import PPOSettings
from legibility.errors import UserError
from legibility.models.loading import resolve
from legibility.script import run_script

TRL_PPO, TRL_GROUP = "1.12.0", "1.16.0"
CACHE = Path.home() / ".cache" / "legibility-bench"
LONG = ((6, 1.0),)  # problems of six steps: answers nearly twice as long as the default's
SMOLLM2 = ROOT / "assets" / "smollm2-135m-instruct"
LEARNING_RATE, LEARNING_STEPS, LEARNING_SEEDS = 1e-4, 40, (0, 1, 2)


def nano_prover() -> str:
    return resolve("nano", "prover")


ALONE = {"trl-ppo": "measured as one process", "ours-plain": "shares nothing"}
"""Trainers that are not run as several ranks."""


@dataclass(frozen=True)
class Workload:
    """A task and how often each trainer takes its turn at it."""

    task: Task
    turns: int


def workloads(quick: bool, cache: Path, threads: int, workers: int, wanted: list[str]) -> Iterator[Workload]:
    """What a run measures, in order; models are made as they are needed. Large ones use threads well and share no step."""
    nano = Task("nano", nano_prover(), threads=threads, workers=workers)
    if quick:
        yield Workload(replace(nano, warm=1, steps=3), 1)
        return
    if "nano" in wanted:
        yield Workload(nano, 3)
    if "nano-long" in wanted:
        yield Workload(replace(nano, name="nano-long", problem_steps=LONG, max_new_tokens=144), 2)
    if "5m" in wanted:
        yield Workload(
            replace(nano, name="5m", workers=1, model=grown_folder(nano.model, cache, 256, 6), warm=1, steps=3), 2
        )
    if "smollm2-135m" in wanted and SMOLLM2.is_dir():
        task = replace(
            nano,
            name="smollm2-135m",
            workers=1,
            model=str(SMOLLM2),
            prompt_set="plain",
            prompts=8,
            minibatch=16,
            warm=1,
            steps=2,
        )
        yield Workload(task, 1)


WORKLOADS = ["nano", "nano-long", "5m", "smollm2-135m"]


def trainers(chosen: list[str], skipped: list[str], ranks: int = 1) -> list[str]:
    """The chosen trainers this version of the package can run, in that many ranks; what it cannot is added to `skipped`."""
    unknown = set(chosen) - set(results.TRAINERS)
    if unknown:
        raise UserError(f"--trainer {min(unknown)}: unknown; known: {', '.join(results.TRAINERS)}")
    try:
        PPOSettings(critic="separate")
    except ValidationError:
        if "ours-separate" in chosen:
            skipped.append("ours-separate (this version has no setting ppo.critic: separate)")
        chosen = [name for name in chosen if name != "ours-separate"]
    if ranks > 1:
        skipped += [f"{name} ({why}, so not in {ranks} ranks)" for name, why in ALONE.items() if name in chosen]
        chosen = [name for name in chosen if name not in ALONE]
    return chosen


def run_trainer(name: str, task: Task, pythons: dict[str, Path]) -> dict[str, Any]:
    """One turn: the worker's record."""
    family, kind = name.split("-", 1)
    with tempfile.TemporaryDirectory() as folder:
        task_file, out = Path(folder) / "task.json", Path(folder) / "out.json"
        task.save(task_file)
        python = pythons[TRL_PPO if name == "trl-ppo" else TRL_GROUP]
        module = "harness.ours" if family == "ours" else "harness.trl_ppo" if kind == "ppo" else "harness.trl_group"
        run_module(python, module, [str(task_file), str(out), kind], Path(folder), task.threads, task.ranks)
        return json.loads(out.read_text(encoding="utf-8"))


def matmul_peak(python: Path, threads: int) -> float:
    """The best rate over shapes, in GFLOP/s."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        run_module(python, "harness.matmul", [str(threads), str(out)], Path(folder), threads)
        return max(json.loads(out.read_text(encoding="utf-8")).values())


def machine() -> dict[str, Any]:
    """The processor by name, its cores and the memory."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (x.split(":")[1].strip() for x in info.read_text().splitlines() if x.startswith("model name")), name
        )
    memory = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else float("nan")
    )
    return {"processor": name, "cores": os.cpu_count(), "memory_gb": memory}


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def main(
    quick: Annotated[bool, typer.Option(help="The nano size only, one turn of three steps each.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything measured to this new file.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the learning check into this new file.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder of the environments and grown models.")] = CACHE,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of every trainer.")] = 2,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that share a step of this package at the nano size (default: as many as threads)."
        ),
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help=f"Only this one (repeat): {', '.join(WORKLOADS)}, learning.")
    ] = None,
    trainer: Annotated[
        list[str] | None, typer.Option(help=f"Only this one (repeat): {', '.join(results.TRAINERS)}.")
    ] = None,
    ranks: Annotated[
        int, typer.Option(min=1, help="Run every trainer as so many ranks of torchrun, which share the threads.")
    ] = 1,
    resume: Annotated[
        bool, typer.Option(help="Go on with the --json file: turns that it holds are not run again.")
    ] = False,
) -> None:
    known = [*WORKLOADS, "learning"]
    wanted = workload or ([] if quick else known)
    if unknown := set(wanted) - set(known):
        raise UserError(f"--workload {min(unknown)}: unknown; known: {', '.join(known)}")
    if figure is not None and figure.exists():
        raise UserError(f"{figure}: exists already; give a new file or move it away")
    if threads % ranks or (ranks > 1 and workers not in (None, 1)):
        raise UserError(
            f"--ranks {ranks}: has to divide --threads {threads}, and leaves no --workers; change one of them"
        )
    skipped: list[str] = []
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "ppo_vs_trl", "quick": quick, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "threads": threads, "versions": {}, "matmul_gflops": None, "matmul_peaks": [],
        "workloads": {}, "learning": {}, "skipped": skipped,
    }  # fmt: skip
    if ranks > 1:
        fresh["ranks"] = ranks
    result = stored.opened(json_file, fresh, resume)
    if "smollm2-135m" in wanted and not SMOLLM2.is_dir():
        skipped.append("smollm2-135m (no assets/smollm2-135m-instruct; python scripts/fetch_assets.py makes it)")
    names = trainers(trainer or list(results.TRAINERS), skipped, ranks)
    for line in skipped:
        typer.echo(f"skipped: {line}")
    pythons = {TRL_GROUP: environment(cache, TRL_GROUP, typer.echo)}
    if "trl-ppo" in names:
        pythons[TRL_PPO] = environment(cache, TRL_PPO, typer.echo)
    peaks: list[float] = result["matmul_peaks"]
    peaks.append(matmul_peak(pythons[TRL_GROUP], threads))
    result["skipped"] = skipped

    def keep(record: dict[str, Any]) -> None:
        """Note a turn's versions and store all so far: a long run that is stopped loses nothing."""
        result["versions"].update({k: v for k, v in record["versions"].items() if k != "trl"})
        result["matmul_gflops"] = statistics.median(peaks)
        result.update(results.derived(result))
        stored.store(json_file, result)

    shared = (threads // ranks, 1) if ranks > 1 else (threads, workers or threads)
    for work in workloads(quick, cache, *shared, wanted):
        task = replace(work.task, ranks=ranks)
        part = result["workloads"].setdefault(
            task.name, {"task": {**asdict(task), "model": Path(task.model).name}, "records": {}}
        )
        for turn in range(work.turns):
            for name in names:
                if len(part["records"].get(name, [])) > turn:
                    continue
                record = run_trainer(name, task, pythons)
                part["records"].setdefault(name, []).append(record)
                keep(record)
                typer.echo(f"{task.name}, turn {turn + 1} of {work.turns}, {name}: "
                           f"{statistics.median(s['total'] for s in record['steps']):.2f} s a step")  # fmt: skip
            peaks.append(matmul_peak(pythons[TRL_GROUP], threads))
    result["matmul_gflops"] = statistics.median(peaks)
    if "learning" in wanted:
        task = Task(
            "learning",
            nano_prover(),
            threads=shared[0],
            workers=shared[1],
            ranks=ranks,
            warm=0,
            steps=LEARNING_STEPS,
            learning_rate=LEARNING_RATE,
        )
        for done, seed in enumerate(LEARNING_SEEDS):
            for name in names:
                if len(result["learning"].get(name, [])) > done:
                    continue
                record = run_trainer(name, replace(task, seed=seed), pythons)
                result["learning"].setdefault(name, []).append(record)
                keep(record)
                got = results.learned(record["steps"])
                typer.echo(f"learning, seed {seed}, {name}: helpful accuracy {got['first']:.3f} -> {got['last']:.3f}")
    if figure is not None and result["learning"]:
        figures.learning(result, figure)
    typer.echo("\n" + tables.versus(result) + "\n")
    for key, value in results.headline(result).items():
        typer.echo(f"{key}: {'not measured' if value is None else f'{value:.3f}'}")


if __name__ == "__main__":
    run_script(main)
