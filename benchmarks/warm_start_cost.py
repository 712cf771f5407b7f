"""What a warm start costs beside the usual way of fine-tuning: padded rows, and logits of every token.

    python benchmarks/warm_start_cost.py --json warm.json          # SmolLM2-135M's shape with random weights, LoRA; ten minutes
    python benchmarks/warm_start_cost.py --full --json warm.json   # all weights instead of adapters
    python benchmarks/warm_start_cost.py --size nano               # the built-in prover, a minute

`padded` is what a supervised trainer does by default (TRL's SFTTrainer among them): a batch as rows filled up to its
longest text, logits of every token from the model's own forward, cross-entropy that leaves prompt and padding out.
`packed` is `legibility.models.warm_start`. Both train the same start on the same batches in one process, in turns
whose order changes; a ratio is that of CPU seconds in one turn, and the losses of every step stand beside it. The
first step of a turn is not counted.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from harness import stored
from ppo_vs_trl import CACHE, commit, machine
from transformers import AutoModelForCausalLM, AutoTokenizer
from verifier_cost import smollm2_shape

from legibility.config import ProverSettings
from legibility.models.loading import resolve
from legibility.models.prover import Prover, lora_config
from legibility.models.warm_start import MAX_GRAD_NORM, Pair, batches, encode_pairs, new_learner, update
from legibility.player_settings import LoraSettings
from legibility.problems.generator import PRETRAIN_FAMILIES, generate_problems
from legibility.prompts import HELPFUL, load_prompts
from legibility.script import run_script

Update = Callable[[Prover, Sequence[Pair], torch.optim.Optimizer], float]


def padded_update(prover: Prover, batch: Sequence[Pair], optimizer: torch.optim.Optimizer) -> float:
    """One step of the usual way; its loss in nats per completion token."""
    rows = [torch.tensor([*x.prompt, *x.completion]) for x in batch]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(x), dtype=torch.long) for x in rows], batch_first=True)
    labels = torch.full_like(ids, -100)
    for k, x in enumerate(batch):
        labels[k, len(x.prompt) : len(x)] = ids[k, len(x.prompt) : len(x)]
    loss = prover.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def packed_update(prover: Prover, batch: Sequence[Pair], optimizer: torch.optim.Optimizer) -> float:
    """One step of this package's warm start."""
    return update(prover, batch, optimizer, bf16=False)


WAYS: dict[str, Update] = {"padded": padded_update, "packed": packed_update}


def pairs(model: str, count: int) -> list[Pair]:
    """Prompts and worked solutions of generated problems of two to six steps, tokenised."""
    prompts, tokenizer = load_prompts("nano"), AutoTokenizer.from_pretrained(model)
    made = generate_problems(count, seed=0, families=PRETRAIN_FAMILIES)
    texts = [(prompts.render(x.question, HELPFUL), f" {x.solution}") for x in made]
    return encode_pairs(tokenizer, texts, 512)


def one_turn(way: str, base: Any, tokenizer: Any, chosen: list[list[Pair]], full: bool) -> dict[str, Any]:
    """CPU seconds of all steps but the first, real tokens of these, and the losses of all."""
    lora = None if full else lora_config(ProverSettings(lora=LoraSettings()))
    prover = new_learner(copy.deepcopy(base), tokenizer, lora, 0, torch.device("cpu"))
    optimizer = torch.optim.AdamW([p for p in prover.model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0)
    losses, started = [], 0.0
    for k, batch in enumerate(chosen):
        if k == 1:
            started = time.process_time()
        losses.append(WAYS[way](prover, batch, optimizer))
    seconds = time.process_time() - started
    return {"seconds": seconds, "tokens": sum(len(x) for batch in chosen[1:] for x in batch), "losses": losses}


def summary(turns: list[dict[str, dict[str, Any]]]) -> dict[str, float]:
    """Medians over the turns, and the largest difference between losses of one step."""
    ratios = [turn["padded"]["seconds"] / turn["packed"]["seconds"] for turn in turns]
    gaps = [
        abs(a - b) for turn in turns for a, b in zip(turn["padded"]["losses"], turn["packed"]["losses"], strict=True)
    ]
    speeds = {
        f"{way}_tokens_per_cpu_second": statistics.median(turn[way]["tokens"] / turn[way]["seconds"] for turn in turns)
        for way in WAYS
    }
    return {
        "faster": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "loss_gap": max(gaps),
        **speeds,
    }


def main(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything measured to this new file.")
    ] = None,
    size: Annotated[Literal["nano", "135m"], typer.Option(help="The nano prover, or SmolLM2-135M's shape.")] = "135m",
    full: Annotated[bool, typer.Option("--full", help="Train all weights, not LoRA adapters of rank 16.")] = False,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each way.")] = 3,
    steps: Annotated[int, typer.Option(min=2, help="Steps a turn; the first is not counted.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Solutions a step.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    cache: Annotated[Path, typer.Option(help="Folder of models.")] = CACHE,
) -> None:
    """Measure, and print the ratio."""
    torch.set_num_threads(threads)
    model = resolve("nano", "prover") if size == "nano" else smollm2_shape(cache)
    fresh: dict[str, Any] = {
        "schema": 1, "benchmark": "warm_start_cost", "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(), "commit": commit(), "threads": threads, "size": size, "full": full, "steps": steps,
        "batch": batch, "turns": [],
    }  # fmt: skip
    result = stored.opened(json_file, fresh, resume=False)
    rows = pairs(model, steps * batch)
    base, tokenizer = AutoModelForCausalLM.from_pretrained(model, dtype="float32"), AutoTokenizer.from_pretrained(model)
    chosen = list(batches(rows, steps, batch, np.random.default_rng(0)))
    filled = sum(len(b) * max(map(len, b)) for b in chosen) / sum(len(x) for b in chosen for x in b)
    result["padding"] = filled
    for k in range(turns):
        order = list(WAYS) if k % 2 == 0 else list(WAYS)[::-1]
        result["turns"].append({way: one_turn(way, base, tokenizer, chosen, full) for way in order})
        result["summary"] = summary(result["turns"])
        stored.store(json_file, result)
        typer.echo(f"turn {k + 1} of {turns}", err=True)
    found = result["summary"]
    taught = sum(len(x.completion) for b in chosen for x in b) / sum(len(b) for b in chosen)
    mean = sum(len(x) for b in chosen for x in b) / sum(len(b) for b in chosen)
    typer.echo(
        f"texts of {mean:.0f} tokens, {taught:.0f} of them taught; padding makes {filled:.2f} times as many\n"
        f"packed {found['packed_tokens_per_cpu_second']:.0f} tokens a CPU second, "
        f"padded {found['padded_tokens_per_cpu_second']:.0f}: "
        f"{found['faster']:.2f} times as fast [{found['least']:.2f}–{found['most']:.2f}]; "
        f"losses differ by at most {found['loss_gap']:.1e}"
    )


if __name__ == "__main__":
    run_script(main)
