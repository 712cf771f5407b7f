"""What it costs to read a solution: scoring and training by kind of verifier, and TRL's RewardTrainer on the same pairs.

    python benchmarks/verifier_cost.py --json cost.json                  # nano size, a few minutes
    python benchmarks/verifier_cost.py --size 135m --json large.json     # SmolLM2-135M's shape with random weights; tens of minutes
    python benchmarks/verifier_cost.py --no-trl                          # without the environment that TRL needs

Each kind learns the same pairs, a worked solution against its copy with one injected error, as many problems a
step, from the same base, and then scores the same texts; the kinds take turns in one process and a ratio is the
median over the turns of seconds against those of `last_token` in the same turn. RewardTrainer runs in an
environment of its own, between the turns, with its own padding and collation, and only its training is timed.
Seconds are the process's CPU time, of one thread unless told otherwise, so a shared machine disturbs them least.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from harness import stored
from harness.environments import environment, run_module
from ppo_vs_trl import CACHE, TRL_GROUP, commit, machine
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from legibility.errors import UserError
from legibility.models.loading import resolve
from legibility.models.verifier import Verifier
from legibility.player_settings import VerifierSettings
from legibility.problems.corruption import corrupt
from legibility.problems.generator import generate_problems
from legibility.problems.records import Problem
from legibility.script import run_script
from legibility.verifier_training import LabelledSolution, train_verifier

TEMPLATE = "<|start|>{problem}<|solution|>{solution}<|end|>"
KINDS: dict[str, dict[str, Any]] = {
    "last_token": {},
    "token": {"score": "token"},
    "likelihood": {"score": "likelihood"},
    "likelihood, lm_weight 0.3": {"score": "likelihood", "lm_weight": 0.3},
}
TRL = "TRL RewardTrainer"


def smollm2_shape(cache: Path) -> str:
    """A saved model of SmolLM2-135M's shape and vocabulary, its weights random, with the nano tokenizer."""
    folder = cache / "models" / "smollm2-135m-shape"
    if not (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(resolve("nano-s-marked", "verifier"))
        config = LlamaConfig(
            vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
            num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def pairs(count: int) -> list[tuple[Problem, str, str]]:
    """`count` generated problems with their worked solution and its copy with one injected error."""
    rng, found = np.random.default_rng(0), []
    for problem in generate_problems(2 * count, seed=0):
        twin = corrupt(problem, rng)
        if twin is not None:
            found.append((problem, problem.solution, twin.text))
    if len(found) < count:
        raise UserError(f"only {len(found)} of {2 * count} problems have a corrupted twin; ask for fewer --problems")
    return found[:count]


def timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def one_turn(model: str, kind: str, made: list[tuple[Problem, str, str]], updates: int, batch: int) -> dict[str, float]:
    """Seconds of training `updates` steps of `batch` problems, and of scoring every text once."""
    settings = VerifierSettings(
        model=model, template=TEMPLATE, updates=updates, batch_problems=batch, solutions_per_problem=2, **KINDS[kind]
    )
    verifier = Verifier.load(settings, "cpu")
    items = [
        LabelledSolution(problem, text, correct, "base", "helpful")
        for problem, right, wrong in made
        for text, correct in ((right, True), (wrong, False))
    ]
    problems, texts = [x.problem for x in items], [x.text for x in items]
    verifier.score(problems[:8], texts[:8])  # what is set up once
    return {
        "training": timed(lambda: train_verifier(verifier, items, settings, np.random.default_rng(0))),
        "scoring": timed(lambda: verifier.score(problems, texts)),
    }


def trl_turn(
    python: Path, model: str, made: list[tuple[Problem, str, str]], updates: int, batch: int, threads: int
) -> dict[str, float]:
    """Seconds of RewardTrainer's steps on the same pairs."""
    with tempfile.TemporaryDirectory() as folder:
        task, out = Path(folder) / "task.json", Path(folder) / "out.json"
        rows = [
            {
                side: TEMPLATE.format(problem=p.question, solution=text)
                for side, text in (("chosen", r), ("rejected", w))
            }
            for p, r, w in made
        ]
        task.write_text(
            json.dumps({"model": model, "rows": rows, "updates": updates, "batch": batch, "threads": threads})
        )
        run_module(python, "harness.trl_reward", [str(task), str(out)], Path(folder), threads)
        return json.loads(out.read_text(encoding="utf-8"))


def ratios(turns: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """By kind and by what is timed: the median over the turns of its seconds against `last_token`'s of that turn."""
    return {
        kind: {
            what: statistics.median(turn[kind][what] / turn["last_token"][what] for turn in turns)
            for what in turns[0][kind]
        }
        for kind in turns[0]
    }


def table(result: dict[str, Any]) -> str:
    """One row a kind: ratios and median seconds."""
    lines = ["| verifier | training | scoring | s a step | texts a second |", "|---|---|---|---|---|"]
    for kind, ratio in result["ratios"].items():
        step = statistics.median(t[kind]["training"] for t in result["turns"]) / result["updates"]
        scoring = [t[kind]["scoring"] for t in result["turns"] if "scoring" in t[kind]]
        speed = f"{2 * result['problems'] / statistics.median(scoring):.0f}" if scoring else "–"
        scored = f"{ratio['scoring']:.2f}" if scoring else "–"
        lines.append(f"| {kind} | {ratio['training']:.2f} | {scored} | {step:.3f} | {speed} |")
    return "\n".join(lines)


def main(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything measured to this new file.")
    ] = None,
    size: Annotated[Literal["nano", "135m"], typer.Option(help="nano-s-marked, or SmolLM2-135M's shape.")] = "nano",
    turns: Annotated[int, typer.Option(min=1, help="Turns of each kind.")] = 5,
    updates: Annotated[int, typer.Option(min=1, help="Training steps a turn.")] = 40,
    problems: Annotated[int, typer.Option(min=2, help="Problems, each with two texts.")] = 512,
    batch: Annotated[int, typer.Option(min=1, help="Problems a training step.")] = 32,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    trl: Annotated[bool, typer.Option("--trl/--no-trl", help="RewardTrainer beside it.")] = True,
    cache: Annotated[Path, typer.Option(help="Folder of environments and models.")] = CACHE,
) -> None:
    """Measure, and print the table."""
    torch.set_num_threads(threads)
    model = resolve("nano-s-marked", "verifier") if size == "nano" else smollm2_shape(cache)
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "verifier_cost", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "threads": threads, "size": size, "updates": updates,
        "problems": problems, "batch": batch, "trl": TRL_GROUP if trl else None, "turns": [],
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume=False)
    made = pairs(problems)
    python = environment(cache, TRL_GROUP) if trl else None
    for k in range(turns):
        kinds = list(KINDS)
        order = kinds[k % len(kinds) :] + kinds[: k % len(kinds)]  # nobody is always first
        turn = {kind: one_turn(model, kind, made, updates, batch) for kind in order}
        turn = {kind: turn[kind] for kind in kinds}
        if python is not None:
            turn[TRL] = trl_turn(python, model, made, updates, batch, threads)
        result["turns"].append(turn)
        result["ratios"] = ratios(result["turns"])
        stored.store(json_file, result)
        typer.echo(f"turn {k + 1} of {turns}", err=True)
    typer.echo(table(result))


if __name__ == "__main__":
    run_script(main)
