"""What two ranks of torchrun learn beside one process: the same prover phase of 20 PPO steps, over seeds.

    python benchmarks/rank_learning.py --json rank_learning.json             # eight seeds, a quarter of an hour
    python benchmarks/rank_learning.py --json rank_learning.json --write     # the stored numbers into docs/gpus.md

For each seed one process plays the short game of trainers.py up to its first prover phase. Copies of that folder,
with one base text and one verifier, are then gone on with by one process, by two ranks of one thread each, and, as a
control of what another rounding does, by one process of two threads.

Ranks add gradients in another order, so weights differ in their last digits after the first update, and some text does
later. The text of the first step, which no update has touched, has to be equal to the letter. Two rules on the metrics
in `METRICS`:

- *every seed* (of the first run, with three seeds): the two ranks differ from the one process by no more than the
  standard deviation of the one process over seeds. Three seeds give a poor standard deviation, and a game whose text
  has parted is another sample of the same game; so, before the second run, with eight seeds:
- *mean*: the mean over seeds of that difference is within two of its own standard errors of zero. The control shows
  how large single differences become where nothing but rounding differs.
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
GAME = (*trainers.GAME, f"ppo.steps={STEPS}", "compute.threads=null")  # as many threads as the environment says
WAYS = {"one process": (1, 1), "two ranks": (1, 2), "two threads": (2, 1)}
"""Threads a process, ranks."""
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


def finish(settings: Sequence[str], out: Path, threads: int, ranks: int) -> None:
    """The rest of the game, by so many processes of so many threads."""
    arguments = ["train", "nano", *settings, "--out", str(out), "--resume", "--no-report"]
    with tempfile.TemporaryDirectory() as folder:
        run_module(sys.executable, "legibility", arguments, Path(folder), threads, ranks)


def read(run: RunFolder) -> dict[str, Any]:
    """The metrics of a game's only round, and the text of every PPO step."""
    rows = round_solutions(run, 0)
    test = rows[(rows.phase == "collection") & (rows["split"] == "test")]
    written = rows[rows.phase == "ppo"].sort_values(["step", "problem_id", "role", "sample"])
    found = trainers.read(run)
    return {
        **{name: found[name] for name in ("helpful_accuracy", "sneaky_accuracy", "kl")},
        **{f"score_{role}": float(test[test.role == role].score.mean()) for role in ("helpful", "sneaky")},
        "texts": {int(step): group.text.tolist() for step, group in written.groupby("step")},
    }


def compared(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A seed's games by way, without their text, and of how many texts of each step a way has the same as one process."""
    texts = {way: game["texts"] for way, game in found.items()}
    first, *others = texts
    same = {
        way: [
            statistics.mean(a == b for a, b in zip(texts[first][step], texts[way][step], strict=True))
            for step in sorted(texts[first])
        ]
        for way in others
    }
    kept = {way: {key: value for key, value in game.items() if key != "texts"} for way, game in found.items()}
    return {**kept, "same_text": same}


def differences(games: Sequence[Game], way: str, metric: str) -> list[float]:
    """Of a way from one process, by seed."""
    return [game[way][metric] - game["one process"][metric] for game in games]


def verdicts(games: Sequence[Game], way: str = "two ranks") -> pd.DataFrame:
    """A row a metric: mean of one process and its spread over seeds; the way's largest difference, its mean with the
    standard error, and both rules."""
    rows = []
    for name, title in METRICS.items():
        values, apart = [game["one process"][name] for game in games], differences(games, way, name)
        spread, mean = statistics.stdev(values), statistics.mean(apart)
        error, largest = statistics.stdev(apart) / len(apart) ** 0.5, max(map(abs, apart))
        rows.append(
            {"title": title, "value": statistics.mean(values), "spread": spread, "largest": largest, "mean": mean,
             "error": error, "every_seed": largest <= spread, "on_average": abs(mean) <= 2 * error}
        )  # fmt: skip
    return pd.DataFrame(rows)


def page(result: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    games, where = result["games"], result["machine"]
    ranks, control = verdicts(games), verdicts(games, "two threads")
    body = [
        [row.title, f"{row.value:.3f}", f"{row.spread:.3f}", f"{row.mean:+.4f} ± {row.error:.4f}", f"{row.largest:.4f}",
         f"{other.mean:+.4f} ± {other.error:.4f}", f"{other.largest:.4f}", told(row.on_average), told(row.every_seed)]
        for row, other in zip(ranks.itertuples(), control.itertuples(), strict=True)
    ]  # fmt: skip
    header = ["", "one process", "spread over seeds", "two ranks: mean difference", "largest", "two threads: mean difference",
              "largest", "mean within two errors", "every seed within the spread"]  # fmt: skip
    same = {way: [game["same_text"][way] for game in games] for way in ("two ranks", "two threads")}
    first = "all" if all(s[0] == 1.0 for s in same["two ranks"]) else "**not all**"
    until, last = {}, {}
    for way, shares in same.items():
        until[way] = ", ".join(str(next((k for k, x in enumerate(s) if x < 1.0), len(s))) for s in shares)
        last[way] = ", ".join(f"{100 * s[-1]:.0f}" for s in shares)
    return "\n\n".join(
        [
            f"{where['processor']}; commit {result['commit']}; {len(games)} seeds of {STEPS} PPO steps; differences from one "
            "process of one thread, ± their standard error.",
            tables.rows(header, body),
            f"Two ranks write the text of one process in the first step: {first}. Steps before the first text that differs, by "
            f"seed: {until['two ranks']} of {STEPS} (two threads: {until['two threads']}); equal texts in the last step, in "
            f"percent: {last['two ranks']} (two threads: {last['two threads']}).",
        ]
    )  # fmt: skip


def told(held: bool) -> str:
    return "yes" if held else "**no**"


def main(
    json_file: Annotated[Path, typer.Option("--json", help="File of what was measured; a new one, or to --resume.")],
    seeds: Annotated[int, typer.Option(min=2, help="Seeds 0, 1, …")] = 8,
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
        "machine": machine(), "commit": commit(), "settings": list(GAME), "games": [],
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume)
    for seed in range(len(result["games"]), seeds):
        settings = [*GAME, f"seed={seed}"]
        with tempfile.TemporaryDirectory() as name:
            begun = Path(name) / "begun"
            begin(settings, begun)
            found = {}
            for way, (threads, ranks) in WAYS.items():
                out = Path(name) / way.replace(" ", "_")
                shutil.copytree(begun, out)
                finish(settings, out, threads, ranks)
                found[way] = read(RunFolder(out))
        result["games"].append({"seed": seed, **compared(found)})
        stored.store(json_file, result)
        typer.echo(f"seed {seed}: {result['games'][-1]}")
    typer.echo("\n" + page(result))


if __name__ == "__main__":
    run_script(main)
