"""A PPO step by one process, by forked helpers and by ranks of torchrun, at three sizes; and the law of when ranks pay.

    python benchmarks/ranks.py --json ranks.json                   # some ten minutes on two quiet cores
    python benchmarks/ranks.py --json ranks.json --size nano       # one size
    python benchmarks/ranks.py --json ranks.json --write           # the stored numbers into docs/gpus.md, with the figure

Ways are measured in turns, each in processes of its own on the same two cores, and medians over turns are compared; a
ratio of one run is what counts, since seconds are the machine's. Larger models are the nano prover grown
(harness/grow.py), so every way and size writes the same text.
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
from harness import figures, stored, tables
from harness.cost_law import Link, Step, fitted
from harness.environments import ROOT, run_module
from harness.grow import grown_folder
from harness.parts import settings
from harness.qwen import qwen_folder
from harness.task import Task
from ppo_vs_trl import CACHE, commit, machine, nano_prover

from legibility.config import ComputeSettings, Config
from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.planning.amounts import Lengths, text_lengths
from legibility.planning.devices import Device, gpu, this_cpu
from legibility.planning.game_plan import plan_game, shapes
from legibility.script import run_script

PAGE, FIGURE = ROOT / "docs" / "gpus.md", ROOT / "docs" / "figures" / "ranks.png"
SIZES = {"0.76m": None, "5m": (256, 6), "131m": (768, 17)}
"""Hidden size x layers of the grown prover; None: as it ships."""
PROMPTS = {"0.76m": 64, "5m": 64, "131m": 8}
WAYS = {"one thread": (1, 1, 1), "two threads": (2, 1, 1), "two forked workers": (2, 2, 1), "two ranks": (1, 1, 2)}
"""Threads a process, forked workers, ranks."""
LINKS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9, "NVLink (450 GB/s)": 450e9}
NCCL = 1e-5  # seconds a message between GPUs, named and not measured
QWENS = {"qwen2.5-1.5b-gsm8k": ("1.5B", "0.5B"), "qwen2.5-7b-gsm8k": ("7B", "0.5B")}
"""Sizes of prover and verifier of two configs."""
PLANS: dict[int, list[str]] = {
    1: ["verifier.batch_problems=2"],
    8: [],
    64: ["ppo.minibatch_size=256", "verifier.batch_problems=64"],
}
"""GPUs of the game on paper, and what has to change for as many to have work."""
RANKS = (1, 2, 4, 8, 16, 32)


def tasks(cache: Path, chosen: list[str]) -> dict[str, Task]:
    """The step of every size."""
    nano = Task("ranks", nano_prover(), warm=1, steps=2)
    return {
        name: replace(
            nano,
            model=grown_folder(nano.model, cache, *SIZES[name]) if SIZES[name] else nano.model,
            prompts=PROMPTS[name],
            minibatch=min(nano.minibatch, 4 * PROMPTS[name]),
            steps=1 if name == "131m" else nano.steps,
        )
        for name in chosen
    }


def measured(task: Task, way: str) -> dict[str, Any]:
    """The record of one way."""
    threads, workers, ranks = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        task_file, out = Path(folder) / "task.json", Path(folder) / "out.json"
        replace(task, threads=threads, workers=workers).save(task_file)
        run_module(sys.executable, "harness.ours", [str(task_file), str(out), "detached"], Path(folder), threads, ranks)
        return json.loads(out.read_text(encoding="utf-8"))


def transport() -> dict[str, Any]:
    """Sums over two ranks with nothing else to do."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        run_module(sys.executable, "harness.sums", [str(out)], Path(folder), 1, ranks=2)
        return json.loads(out.read_text(encoding="utf-8"))


def kept(record: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a record."""
    steps = record["steps"]
    return {
        **{key: statistics.median(step[key] for step in steps) for key in ("total", "rollout", "scoring", "update")},
        "peak_mb": record["peak_mb"],
        "reward": [step["reward"] for step in [*record["warm_steps"], *steps]],
        "answer": statistics.mean(step["generated_tokens"] / step["completions"] for step in steps),
        "prompt": statistics.mean(step["prompt_tokens"] / step["prompts"] for step in steps),
        "parameters": record["parameters"]["body"] + record["parameters"]["head"],
    }


def medians(size: dict[str, list[dict[str, Any]]], key: str = "total") -> dict[str, float]:
    """Of every way over its turns."""
    return {way: statistics.median(turn[key] for turn in turns) for way, turns in size.items()}


def link_of(result: dict[str, Any]) -> Link:
    """What gloo on this machine does, by its sums."""
    found = result["transport"]
    return fitted(found["ranks"], [(point["bytes"], point["seconds"]) for point in found["sums"]])


def own_step(task: Task, turns: list[dict[str, Any]], device: Device) -> Step:
    """The measured step as the law counts it; texts as long as they were."""
    config = Config(
        prover=Config().prover.model_copy(update={"model": task.model}),
        sampling=Config().sampling.model_copy(update={"max_new_tokens": task.max_new_tokens}),
        ppo=settings(task),
        compute=ComputeSettings(),
    )
    answer, prompt = turns[0]["answer"], turns[0]["prompt"]
    return Step(config, shapes(config), Lengths(prompt, answer, task.max_new_tokens, prompt), device)


def step_of(name: str, device: Device) -> Step:
    """A step of a shipped config on a device, counted from the sizes of its models."""
    with tempfile.TemporaryDirectory() as folder:
        prover, verifier = (qwen_folder(size, Path(folder)) for size in QWENS[name])
        config = load_config(
            ROOT / "configs" / f"{name}.yaml", [f"prover.model={prover}", f"verifier.model={verifier}"]
        )
        return Step(config, shapes(config), text_lengths(config), device)


def laws(result: dict[str, Any], wanted: dict[str, Task]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The figure's panels: measured sizes on this CPU with their law, and two shipped configs on a GPU by the law."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    link, device = link_of(result), Device(**result["device"])
    for name, ways in result["sizes"].items():
        step, seconds = own_step(wanted[name], ways["one thread"], device), medians(ways)
        panels[f"{name} on one CPU core a rank"] = {
            "law, gloo in one machine": [(n, step.speedup(n, link)) for n in RANKS[:4]],
            "law, 1 Gbit/s": [(n, step.speedup(n, Link(link.latency, LINKS["1 Gbit/s"]))) for n in RANKS[:4]],
            "measured": [(1, 1.0), (2, seconds["one thread"] / seconds["two ranks"])],
        }
    for name in QWENS:
        step = step_of(name, gpu("h100"))
        panels[f"{name}, H100"] = {
            label: [(n, step.speedup(n, Link(NCCL, bandwidth))) for n in RANKS] for label, bandwidth in LINKS.items()
        }
    return panels


def page(result: dict[str, Any], wanted: dict[str, Task]) -> str:
    """The tables as Markdown."""
    body = []
    for name, ways in result["sizes"].items():
        seconds, memory = medians(ways), medians(ways, "peak_mb")
        for way in ways:
            body.append(
                [
                    name if way == "one thread" else "",
                    way,
                    f"{seconds[way]:.2f}",
                    f"{seconds['one thread'] / seconds[way]:.2f}",
                    *(f"{medians(ways, part)[way]:.2f}" for part in ("rollout", "scoring", "update")),
                    f"{memory[way]:.0f}",
                ]
            )
    link, device = link_of(result), Device(**result["device"])
    pays = []
    for name, ways in result["sizes"].items():
        step, seconds = own_step(wanted[name], ways["one thread"], device), medians(ways)
        pays.append(
            [f"{name}, a CPU core a rank", "2", f"{step.speedup(2, link):.2f}", f"{seconds['one thread'] / seconds['two ranks']:.2f}",
             *_slowest(step, 2, link.latency)]
        )  # fmt: skip
    for name in QWENS:
        step = step_of(name, gpu("h100"))
        for ranks in (8, 32):
            pays.append(
                [f"{name}, an H100 a rank", str(ranks), f"{step.speedup(ranks, Link(NCCL, LINKS['NVLink (450 GB/s)'])):.1f}", "",
                 *_slowest(step, ranks, NCCL)]
            )  # fmt: skip
    where, turns = result["machine"], {len(turns) for ways in result["sizes"].values() for turns in ways.values()}
    return "\n\n".join(
        [
            f"{where['processor']}, {where['cores']} cores; commit {result['commit']}; {min(turns)} turns or more of every way; "
            f"steps of {', '.join(f'{4 * PROMPTS[name]} completions at {name}' for name in result['sizes'])}.",
            tables.rows(
                ["parameters", "way", "seconds a step", "times one thread", "sampling", "scoring", "update", "memory, MB"],
                body,
            ),
            f"Sums over two ranks by gloo in this machine: {1e3 * link.latency:.2f} ms a message, {link.bandwidth / 1e9:.2f} GB/s. "
            "By the law (`benchmarks/harness/cost_law.py`):",
            tables.rows(
                ["a PPO step", "ranks", "times as fast, by the law", "measured", "slowest link that pays", "link for half of the ranks' number"],
                pays,
            ),
            "A whole game of `configs/qwen2.5-7b-gsm8k.yaml` as `legibility plan` counts it, on H100s with NVLink "
            "(between machines the link is slower: see the last column above):",
            tables.rows(["GPUs", "changed", "hours at most", "times one GPU", "GB a rank at most"], _on_paper()),
        ]
    )  # fmt: skip


def _on_paper() -> list[list[str]]:
    name, device, rows = "qwen2.5-7b-gsm8k", gpu("h100"), []
    with tempfile.TemporaryDirectory() as folder:
        prover, verifier = (qwen_folder(size, Path(folder)) for size in QWENS[name])
        alone = None
        for gpus, changes in PLANS.items():
            models = [f"prover.model={prover}", f"verifier.model={verifier}"]
            config = load_config(ROOT / "configs" / f"{name}.yaml", [*models, *changes])
            plan = plan_game(config, name, device, ranks=gpus)
            alone = alone or plan.seconds
            changed = " ".join(f"`{change}`" for change in changes)
            rows.append([str(gpus), changed, f"{plan.seconds / 3600:.1f}", f"{alone / plan.seconds:.1f}", f"{plan.tightest.peak / 1e9:.0f}"])  # fmt: skip
    return rows


def _slowest(step: Step, ranks: int, latency: float) -> list[str]:
    def told(bandwidth: float) -> str:
        return "none" if bandwidth == float("inf") else f"{8 * bandwidth / 1e9:.2g} Gbit/s"

    return [told(step.slowest_link(ranks, latency)), told(step.slowest_link(ranks, latency, max(1.0, ranks / 2)))]


def main(
    json_file: Annotated[Path, typer.Option("--json", help="File of what was measured; a new one, or to --resume.")],
    size: Annotated[list[str] | None, typer.Option(help=f"Only this size (repeat): {', '.join(SIZES)}.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="Turns of every way that the file shall hold.")] = 3,
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
        result = json.loads(json_file.read_text(encoding="utf-8"))
        wanted = tasks(cache, list(result["sizes"]))
        tables.fill_file(PAGE, "ranks", page(result, wanted))
        figures.ranks(laws(result, wanted), FIGURE)
        return
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "ranks", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "device": None, "transport": None, "sizes": {},
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume)
    if result["transport"] is None:
        result |= {"device": vars(this_cpu(1)), "transport": transport()}
        stored.store(json_file, result)
    for name, task in tasks(cache, size or list(SIZES)).items():
        ways = result["sizes"].setdefault(name, {way: [] for way in WAYS})
        for turn in range(turns):
            for way in WAYS:
                if len(ways[way]) <= turn:
                    ways[way].append(kept(measured(task, way)))
                    stored.store(json_file, result)
                    typer.echo(f"{name}, {way}: {ways[way][-1]['total']:.2f} s")


if __name__ == "__main__":
    run_script(main)
