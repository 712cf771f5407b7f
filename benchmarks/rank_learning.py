"""What two ranks of torchrun learn beside one process: the same prover phase of 20 PPO steps, over seeds.

    python benchmarks/rank_learning.py --json rank_learning.json             # three seeds, some ten minutes
    python benchmarks/rank_learning.py --json rank_learning.json --write     # the stored numbers into docs/gpus.md

For each seed one process plays the short game of trainers.py up to its first prover phase. Copies of that folder,
with one base text and one verifier, are then gone on with by one process and by two ranks, one thread each.

Ranks add gradients in another order, so weights differ in their last digits after the first update, and some text does
later. **Within noise** means, as decided before anything was measured: of every metric in `METRICS`, for every seed, the
two ranks differ from the one process by no more than the standard deviation of the one process over seeds. And the
text of the first step, which no update has touched, has to be equal to the letter.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import trainers
import typer
from harness import stored, tables
from harness.environments import ROOT, run_module
from ppo_vs_trl import commit, machine

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import round_solutions
from legibility.play import train
from legibility.progress import Progress
from legibility.script import run_script

PAGE = ROOT / "docs" / "gpus.md"
STEPS = 20
GAME = (*trainers.GAME, f"ppo.steps={STEPS}")
WAYS = {"one process": 1, "two ranks": 2}
METRICS = {
    "helpful_accuracy": "helpful accuracy",
    "sneaky_accuracy": "sneaky accuracy",
    "kl": "KL of the last four steps, nats a completion",
    "score_helpful": "score of helpful text",
    "score_sneaky": "score of sneaky text",
}
"""What has to be within noise: of text on test problems after the phase, but for KL."""

Game = Mapping[str, Any]


class ProverBegins(Exception):
    """The first prover phase is about to begin."""


class UntilProver(Progress):
    """Shows nothing, and stops a game where its first prover phase begins."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def phase(self, name: str, total: int, detail: str = "") -> None:
        if name == "round 0 prover":
            raise ProverBegins
        super().phase(name, total, detail)


def begin(settings: Sequence[str], out: Path) -> None:
    """The game in `out` up to its first prover phase, by this process."""
    try:
        train(load_config("nano", settings), out, progress=UntilProver())
    except ProverBegins:
        return
    raise RuntimeError(f"{out}: the game has come to its end without a prover phase")


def finish(settings: Sequence[str], out: Path, ranks: int) -> None:
    """The rest of the game, by so many processes of one thread."""
    arguments = ["train", "nano", *settings, "--out", str(out), "--resume", "--no-report"]
    with tempfile.TemporaryDirectory() as folder:
        run_module(sys.executable, "legibility", arguments, Path(folder), 1, ranks)


def read(run: RunFolder) -> dict[str, Any]:
    """The metrics of a game's only round, and the text of every PPO step."""
    rows = round_solutions(run, 0)
    test = rows[(rows.phase == "collection") & (rows["split"] == "test")]
    written = rows[rows.phase == "ppo"].sort_values(["step", "problem_id", "role", "sample"])
    found = trainers.read(run)
    return {
        **{name: found[name] for name in ("helpful_accuracy", "sneaky_accuracy", "kl")},
        **{f"score_{role}": float(test[test.role == role].score.mean()) for role in ("helpful", "sneaky")},
        "ranks": run.manifest().ranks or 1,
        "texts": {int(step): group.text.tolist() for step, group in written.groupby("step")},
    }


def compared(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Both games of a seed without their text, and of how many texts of each step both have the same."""
    texts, others = one.pop("texts"), two.pop("texts")
    same = [statistics.mean(a == b for a, b in zip(texts[step], others[step], strict=True)) for step in sorted(texts)]
    return {"one process": one, "two ranks": two, "same_text": same}


def verdicts(games: Sequence[Game]) -> pd.DataFrame:
    """A row a metric: mean of one process, its spread over seeds, differences by seed, and whether they are within noise."""
    rows = []
    for name, title in METRICS.items():
        values = [game["one process"][name] for game in games]
        differences = [game["two ranks"][name] - game["one process"][name] for game in games]
        spread = statistics.stdev(values)
        within = max(map(abs, differences)) <= spread
        rows.append({"title": title, "mean": statistics.mean(values), "spread": spread, "differences": differences, "within": within})  # fmt: skip
    return pd.DataFrame(rows)


def page(result: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    games, where = result["games"], result["machine"]
    body = [
        [row.title, f"{row.mean:.3f}", f"{row.spread:.3f}", ", ".join(f"{d:+.4f}" for d in row.differences), "yes" if row.within else "**no**"]
        for row in verdicts(games).itertuples()
    ]  # fmt: skip
    same = [game["same_text"] for game in games]
    first = "all" if all(s[0] == 1.0 for s in same) else "**not all**"
    until = ", ".join(str(next((k for k, share in enumerate(s) if share < 1.0), len(s))) for s in same)
    last = ", ".join(f"{100 * s[-1]:.0f} %" for s in same)
    return "\n\n".join(
        [
            f"{where['processor']}, one thread a process; commit {result['commit']}; seeds "
            f"{', '.join(str(game['seed']) for game in games)}; {STEPS} PPO steps each.",
            tables.rows(["", "one process", "spread over seeds", "two ranks less one process, by seed", "within noise"], body),
            f"The first step has the same text in both ways: {first}. Steps before the first text that differs, by seed: "
            f"{until} of {STEPS}; equal texts in the last step: {last}.",
        ]
    )  # fmt: skip


def main(
    json_file: Annotated[Path, typer.Option("--json", help="File of what was measured; a new one, or to --resume.")],
    seeds: Annotated[int, typer.Option(min=2, help="Seeds 0, 1, …")] = 3,
    resume: Annotated[bool, typer.Option(help="Go on with the file: its seeds are not measured again.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Put the file's numbers into docs/gpus.md; measure nothing.")] = False,
) -> None:  # fmt: skip
    """Measure, or write what was measured into the documentation."""
    if write:
        if not json_file.is_file():
            raise UserError(f"{json_file}: is not there; measure first, without --write")
        tables.fill_file(PAGE, "rank_learning", page(json.loads(json_file.read_text(encoding="utf-8"))))
        return
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "rank_learning", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "threads": 1, "settings": list(GAME), "games": [],
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume)
    for seed in range(len(result["games"]), seeds):
        settings = [*GAME, f"seed={seed}"]
        with tempfile.TemporaryDirectory() as name:
            begun = Path(name) / "begun"
            begin(settings, begun)
            found = []
            for way, ranks in WAYS.items():
                out = Path(name) / way.replace(" ", "_")
                shutil.copytree(begun, out)
                finish(settings, out, ranks)
                found.append(read(RunFolder(out)))
        result["games"].append({"seed": seed, **compared(*found)})
        stored.store(json_file, result)
        typer.echo(f"seed {seed}: {result['games'][-1]}")
    typer.echo("\n" + page(result))


if __name__ == "__main__":
    run_script(main)
