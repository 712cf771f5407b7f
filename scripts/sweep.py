"""Verifier sizes and rewards side by side: a game per point and seed, one table, one figure.

    python scripts/sweep.py configs/nano-full.yaml --out runs/sweep                 # sizes and rewards, seed 0
    python scripts/sweep.py configs/nano-full.yaml --out runs/sweep --points sizes --seeds 0,1,2 --parallel 2 game.rounds=2

Every game is an ordinary run folder, evaluated with --quick; finished ones are not played again, so the
sweep goes on where it stopped. The base policy's text depends on neither verifier nor reward: it is drawn
once a seed, by the first point, and copied to the others. Closed gates are forced open: a verifier too weak
to train against is a result here. Settings after the config apply to every point.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
import typer
from matplotlib.figure import Figure

from legibility.config import Config
from legibility.config_file import load_config
from legibility.evaluation.evaluate import evaluate
from legibility.evaluation.headline import (
    AUROC_POOLED,
    BEST_OF_16,
    FALSE_POSITIVE_RATE,
    HELPFUL_ACCURACY,
    LEGIBILITY_TAX,
    RETAINED_GAIN,
    SAME_STYLE,
    SNEAKY_ACCURACY,
    STEPS,
)
from legibility.evaluation.merged_seeds import Comparison, merge, steps_by_seed
from legibility.evaluation.summary_schema import SUMMARY, Summary, read_summary
from legibility.files import write_atomic
from legibility.game.phases import BASE, WARM_START
from legibility.game.run_folder import RunFolder
from legibility.play import train
from legibility.processes import fresh_processes
from legibility.reporting.drawing import LIGHT, end_labels, themed
from legibility.reporting.markdown import markdown_table
from legibility.script import run_script
from legibility.stored import Stored, write_stored

SIZES = ("xs", "s", "m", "equal")
REWARDS = {
    "SRC": ["reward.kind=src", "reward.floor=null"],
    "CGC": ["reward.kind=cgc"],
    "Goodhart": ["reward.kind=goodhart", "reward.floor=null"],
}


def main(
    config: Annotated[Path, typer.Argument(help="Config that every point starts from.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings of every point, as section.key=value.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the sweep.")] = Path("runs/sweep"),
    points: Annotated[Literal["sizes", "rewards", "all"], typer.Option(help="What to vary.")] = "all",
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0",
    parallel: Annotated[
        int, typer.Option(help="Games played side by side, each with its share of the CPU threads.", min=1)
    ] = 1,
) -> None:
    """Play every point, then write sweep.json, sweep.md and sweep.png."""
    found = choose(points, load_config(config, list(overrides or ())))
    plans: dict[str, Plan] = {}  # by settings: a game that two points share is played once
    settings_of: dict[tuple[str, str], str] = {}
    for seed in seeds.split(","):
        base = None
        for name, point in found.items():
            changes = [*(overrides or ()), *point, f"seed={seed}"]
            settings = settings_of[name, seed] = load_config(config, changes).model_dump_json()
            folder = out / f"{name.replace(' ', '-').lower()}-{seed}"
            plans.setdefault(settings, Plan(config, folder, changes, base))
            base = base or folder
    played: dict[str, Summary] = {}
    for draws_base in (True, False):
        stage = {settings: plan for settings, plan in plans.items() if (plan.base is None) == draws_base}
        played.update(zip(stage, _all(list(stage.values()), parallel), strict=True))
    results = []
    for name in found:
        chosen = [played[settings_of[name, seed]] for seed in seeds.split(",")]
        parameters = chosen[0].arms.game.rounds[0].verifier.parameters
        results.append(SweepPoint(name=name, parameters=parameters, merged=merge(chosen)))
    write_stored(out / "sweep.json", Sweep(points=results))
    command = " ".join(
        ["python scripts/sweep.py", str(config), *(overrides or ()), "--points", points, "--seeds", seeds]
    )
    table = f"`{command}`\n\n{render(results)}"
    write_atomic(out / "sweep.md", table)
    draw(results).savefig(out / "sweep.png", dpi=150)
    typer.echo(table)


def choose(points: str, config: Config) -> dict[str, list[str]]:
    """Settings by name of point. The sizes have the marking stage if the config's built-in verifier has it."""
    kind = "-marked" if config.verifier.model.endswith("-marked") else ""
    sizes = {f"verifier {size}": [f"verifier.model=nano-{size}{kind}"] for size in SIZES}
    return {**(sizes if points != "rewards" else {}), **(REWARDS if points != "sizes" else {})}


class SweepPoint(Stored):
    """One setting of the sweep: its games over seeds."""

    name: str
    parameters: int
    merged: Comparison


class Sweep(Stored):
    """sweep.json."""

    points: list[SweepPoint]


class Plan(NamedTuple):
    """A game to play. `base`: the run folder whose base text is taken over, none to draw it."""

    config: Path
    folder: Path
    changes: list[str]
    base: Path | None


def _all(plans: list[Plan], parallel: int) -> list[Summary]:
    """The summaries of all games, `parallel` of them played side by side."""
    if parallel == 1:
        return [play_and_evaluate(plan) for plan in plans]
    threads = max(1, torch.get_num_threads() // parallel)
    with fresh_processes(parallel, torch.set_num_threads, (threads,)) as processes:
        return list(processes.map(play_and_evaluate, plans))


def play_and_evaluate(plan: Plan) -> Summary:
    """The summary of one game, played and evaluated as far as that is not done."""
    settings = load_config(plan.config, plan.changes)
    if plan.base is not None:
        with RunFolder.open(plan.folder, settings, resume=True) as run:
            take_base(run, RunFolder.existing(plan.base))
    run = train(settings, plan.folder, resume=True, force=True, base_dir=plan.config.resolve().parent)
    if not (run.path / "evaluation" / "hacking.json").is_file():  # the last section
        evaluate(run.path, quick=True)
    return read_summary(run.path / SUMMARY)


def take_base(run: RunFolder, other: RunFolder) -> None:
    """Copy what precedes the game from a run that differs in verifier and reward alone."""
    for phase in (WARM_START, BASE):
        if other.is_done(phase) and not run.is_done(phase):
            copy = run.path / f".{phase}.tmp"
            shutil.copytree(other.verified(phase), copy, dirs_exist_ok=True)
            copy.rename(run.folder(phase))


def render(results: Sequence[SweepPoint]) -> str:
    """One row per point: means over seeds, with the interval where there are several."""
    rounds = _rounds(results)
    columns: dict[str, tuple[str, int | None, int | None]] = {  # title -> name, round and verifier of the figure
        "helpful accuracy": (HELPFUL_ACCURACY, rounds - 1, None),
        "sneaky accuracy": (SNEAKY_ACCURACY, rounds - 1, None),
        "tax": (LEGIBILITY_TAX, None, None),
        "retained gain": (RETAINED_GAIN, None, None),
        "best-of-16, round 0": (BEST_OF_16, 0, None),
        f"best-of-16, round {rounds - 1}": (BEST_OF_16, rounds - 1, None),
        "false-positive rate, last": (FALSE_POSITIVE_RATE, rounds - 1, None),
        "same-style accuracy of verifier 0 on round 0": (SAME_STYLE, 0, None),
        "AUROC of verifier 0 on round 0": (AUROC_POOLED, 0, 0),
    }
    if rounds > 1:
        columns["same-style accuracy of verifier 1 on round 0"] = (SAME_STYLE, 0, 1)
        columns["AUROC of verifier 1 on round 0"] = (AUROC_POOLED, 0, 1)
    columns = {title: key for title, key in columns.items() if any(point.merged.figure(*key).n for point in results)}
    rows = []
    for point in results:
        steps = "; ".join(steps_by_seed(point.merged, r) for r in range(rounds))
        cells = [point.merged.figure(*key).text() for key in columns.values()]
        rows.append([point.name, f"{point.parameters:,}", steps, *cells])
    header = ["point", "verifier parameters", "steps to exploit in the game by seed; by round", *columns]
    return markdown_table(header, rows) + "\n"


def draw(results: Sequence[SweepPoint]) -> Figure:
    """Steps to exploit and best-of-16 over rounds, a line per point, with intervals over seeds where there are several."""
    rounds = _rounds(results)
    with themed(LIGHT):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        wanted = ((STEPS, "steps until fooled, or the phase's length"), (BEST_OF_16, "balanced best-of-16"))
        for ax, (key, title) in zip(figure.subplots(1, 2), wanted, strict=True):
            ends = []
            for k, point in enumerate(results):
                colour, aside = f"C{k}", 0.05 * (k - (len(results) - 1) / 2)
                figures = [point.merged.figure(key, r) for r in range(rounds)]
                known = [(r + aside, f) for r, f in enumerate(figures) if f.mean is not None]
                if known:
                    ax.plot(
                        [x for x, _ in known],
                        [f.mean for _, f in known],
                        "o-",
                        color=colour,
                        markersize=4,
                        linewidth=1.5,
                    )
                    ends.append((known[-1][1].mean, point.name, colour))
                for x, f in known:
                    if f.low is not None:
                        ax.plot([x, x], [f.low, f.high], color=colour, linewidth=1, alpha=0.6)
            ax.set_title(title, loc="left")
            ax.set_xlabel("round")
            ax.set_xticks(range(rounds))
            ax.set_ylim(0, 1 if key == BEST_OF_16 else None)  # an interval of few seeds may leave the possible
            end_labels(ax, ends)
    return figure


def _rounds(results: Sequence[SweepPoint]) -> int:
    return min(len(point.merged.rounds) for point in results)


if __name__ == "__main__":
    run_script(main)
