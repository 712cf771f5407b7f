"""Pre-train the built-in nano models and write their folders.

    python scripts/pretrain_nano.py --out my-nano            # everything, under 30 minutes on 2 cores
    python scripts/pretrain_nano.py --out my-nano --only verifier-s
    python scripts/pretrain_nano.py --out polished --only prover --polish my-nano/prover --steps 1200
    python scripts/pretrain_nano.py --out marked --only verifier-m --mark my-nano/verifier-m

The default output is a new folder; the weights shipped in `legibility/weights/` were made by
this script with the default seed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from legibility.models import nano
from legibility.models.saving import save_model
from legibility.models.step_marking import teach_marking
from legibility.problems.generator import HELD_OUT_FAMILIES, PRETRAIN_FAMILIES, generate_problems
from legibility.script import run_script


def main(
    out: Annotated[Path, typer.Option(help="Folder for the models.")],
    only: Annotated[str, typer.Option(help="Comma-separated model names; default all.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of data and initial weights.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    polish: Annotated[Path | None, typer.Option(help="Go on from this prover with the polishing stage.")] = None,
    mark: Annotated[Path | None, typer.Option(help="Go on from this verifier base with the marking stage.")] = None,
    steps: Annotated[int, typer.Option(help="Override the number of steps (0 keeps each model's own).")] = 0,
) -> None:
    """Pre-train the built-in models, or go on from one of them."""
    torch.set_num_threads(threads)
    names = only.split(",") if only else list(nano.SIZES)
    unknown = set(names) - set(nano.SIZES)
    if unknown:
        raise typer.BadParameter(f"unknown model {sorted(unknown)}; known: {', '.join(nano.SIZES)}")
    tokenizer = nano.train_tokenizer()
    for name in names:
        folder = out / name
        if folder.exists():
            raise typer.BadParameter(f"{folder} exists; remove it or choose another --out")
        size = nano.SIZES[name]
        if steps:
            size = replace(size, steps=steps, marking_steps=steps)
        log = partial(print, name, flush=True)
        if mark:
            model = LlamaForCausalLM.from_pretrained(mark)
            stats = json.loads((mark / "pretraining.json").read_text())
            stats.update(teach_marking(model, tokenizer, size, seed=seed, device=device, log=log))
            stats["pretraining_flops"] += 6 * stats["parameters"] * stats["marking_tokens"]
            save(model, tokenizer, folder, {**stats, "seed": seed})
            continue
        is_prover = name.startswith("prover")
        start = None
        if polish:
            start = LlamaForCausalLM.from_pretrained(polish)
            size = replace(size, learning_rate=size.learning_rate / 2)
        model, stats = nano.pretrain(
            size,
            tokenizer,
            seed=seed + 7 * bool(polish),
            roles=is_prover,
            device=device,
            start=start,
            curriculum=nano.POLISH if polish else nano.CURRICULUM,
            log=log,
        )
        stats["pretraining_flops"] = 6 * stats["parameters"] * stats["tokens"]
        if is_prover:
            for group, families in (("seen", PRETRAIN_FAMILIES), ("held_out", HELD_OUT_FAMILIES)):
                problems = generate_problems(500, 90_001, families=families)
                for role, token in (("helpful", nano.HELPFUL), ("sneaky", nano.SNEAKY)):
                    with torch.random.fork_rng():
                        torch.manual_seed(seed)
                        stats[f"{role}_{group}"] = nano.sample_accuracy(model, tokenizer, problems, token)
        save(model, tokenizer, folder, {"seed": seed, **stats})


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, stats: dict[str, float]) -> None:
    """Write model, tokenizer and what is known of the training (pretraining.json) into the folder."""
    save_model(model.cpu(), folder)
    tokenizer.save_pretrained(folder)
    (folder / "pretraining.json").write_text(json.dumps(stats, indent=2) + "\n")
    print(folder.name, json.dumps(stats), flush=True)


if __name__ == "__main__":
    run_script(main)
