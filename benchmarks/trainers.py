"""PPO beside TRL's GRPO and RLOO in the same game: short rounds at equal completions, over seeds.

    python benchmarks/trainers.py --out games --json trainers.json     # nine games, half an hour of one core
    python benchmarks/trainers.py --out games --json trainers.json --resume

Every game is one round of configs/nano.yaml made shorter (`GAME`), with one thread and no early stop, so that all
trainers see the same problems and as many completions; only `prover.trainer` and the seed differ. Base text and the
verifier of a seed are the same for all three. What is read is the text that a round's trained prover writes on test
problems, scored by the verifier it was trained against. Seconds are this process's CPU time in the prover's phase.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from harness import stored
from ppo_vs_trl import commit, machine

from legibility.config_file import load_config
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, round_solutions
from legibility.metrics import auroc
from legibility.play import train
from legibility.progress import Progress
from legibility.script import run_script

TRAINERS = ("ppo", "grpo", "rloo")
GAME = (
    "game.rounds=1", "game.correctness_arm=false", "game.held_out_judge=false", "stop.rule=fixed", "gates.enabled=false",
    "problems.prover=1500", "problems.verifier=150", "problems.validation=40", "problems.test_size=150", "problems.judge=20",
    "verifier.updates=60", "ppo.steps=24", "game.base_draws=1", "game.collection_samples=2", "evaluation.samples=4",
    "evaluation.bootstrap=50", "compute.workers=1", "compute.threads=1",
)  # fmt: skip
COLUMNS = {
    "helpful_accuracy": ("helpful accuracy", 3),
    "sneaky_accuracy": ("sneaky accuracy", 3),
    "fooling": ("sneaky texts that fool", 2),
    "auroc": ("AUROC in the round", 2),
    "tokens": ("tokens a text", 1),
    "kl": ("KL at the end", 2),
    "cpu_seconds": ("CPU seconds", 0),
}
"""What the table shows: title, and digits after the point."""


class Timed(Progress):
    """Shows nothing and notes the CPU seconds of every phase."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.seconds: dict[str, float] = {}
        self._begun: tuple[str, float] = ("", 0.0)

    def phase(self, name: str, total: int, detail: str = "") -> None:
        super().phase(name, total, detail)
        self._begun = name, time.process_time()

    def done(self, text: str) -> None:
        name, begun = self._begun
        self.seconds[name] = time.process_time() - begun
        super().done(text)


def measure(rows: pd.DataFrame) -> dict[str, float]:
    """What a round's test text says of its prover and verifier. rows: its completions, scored.

    `fooling` is the share of wrong sneaky texts (with a readable answer) that score above the median right helpful one;
    `auroc` ranks right above wrong texts of both roles.
    """
    rows = rows[(rows.phase == "collection") & (rows["split"] == "test")]
    helpful, sneaky = rows[rows.role == "helpful"], rows[rows.role == "sneaky"]
    convincing = helpful[helpful.verdict == "correct"].score.median()
    wrong, readable = sneaky[sneaky.verdict == "incorrect"], rows[rows.verdict != "invalid"]
    return {
        "helpful_accuracy": float((helpful.verdict == "correct").mean()),
        "sneaky_accuracy": float((sneaky.verdict == "correct").mean()),
        "fooling": float((wrong.score > convincing).mean()),
        "auroc": float(auroc(readable.score.to_numpy(), (readable.verdict == "correct").to_numpy())),
        "tokens": float(rows.completion_tokens.mean()),
    }


def read(run: RunFolder) -> dict[str, float]:
    """`measure` of a game's only round, and the KL of its last four steps in nats a completion."""
    lines = pd.read_json(run.path / "rounds/00/prover/metrics.jsonl", lines=True)
    rows, base = round_solutions(run, 0), read_solutions(run.folder("base") / "solutions.parquet")
    before = base[base["split"] == "test"].groupby("role").verdict.apply(lambda v: float((v == "correct").mean()))
    return {
        **measure(rows),
        **{f"base_accuracy_{role}": value for role, value in before.items()},
        "kl": float(lines.kl.tail(4).mean()),
        "completions": float((rows.phase == "ppo").sum()),
    }


def table(games: dict[str, list[dict[str, float]]]) -> str:
    """Means over seeds, with their standard deviation, as a Markdown table."""
    lines = [f"| trainer | {' | '.join(title for title, _ in COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for trainer, found in games.items():
        cells = []
        for name, (_, digits) in COLUMNS.items():
            values = [game[name] for game in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{np.mean(values):.{digits}f} ± {spread:.{digits}f}")
        lines.append(f"| {trainer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    out: Annotated[Path, typer.Option(help="Folder of the games.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything measured to this new file.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, …")] = 3,
    resume: Annotated[bool, typer.Option(help="Go on with the --json file and the games that are there.")] = False,
) -> None:
    import trl  # noqa: F401  # imported here, so that the first of TRL's phases is not billed for it

    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "trainers", "quick": False, "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "threads": 1, "settings": list(GAME), "games": {},
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume)
    for seed in range(seeds):
        for trainer in TRAINERS:
            games = result["games"].setdefault(trainer, [])
            if len(games) > seed:
                continue
            timed = Timed()
            config = load_config("nano", [*GAME, f"prover.trainer={trainer}", f"seed={seed}"])
            run = train(config, out / f"{trainer}-{seed}", resume=resume, progress=timed)
            games.append({"seed": seed, **read(run), "cpu_seconds": timed.seconds["round 0 prover"]})
            stored.store(json_file, result)
            typer.echo(f"{trainer}, seed {seed}: {games[-1]}")
    typer.echo("\n" + table(result["games"]))


if __name__ == "__main__":
    run_script(main)
