"""Sampling completions: one interface, several engines.

`sample(prover, prompts, samples, …)` draws `samples` completions for every prompt from the full
distribution at the given temperature (no top-k, no top-p: those would bias the log-probs PPO uses).
The random number behind a token is keyed by (seed, prompt row, sample, position), so a completion
does not depend on batch composition or engine, up to floating-point ties.

Engines: `fast` (prefill each prompt once, preallocated cache, finished rows dropped), `hf`
(transformers' own `generate`) and `vllm` (where it is installed; seeds keyed alike, but random numbers
of its own). A model the fast engine cannot run falls back to `hf` with a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from legibility.config import VLLMSettings
from legibility.randomness import uniforms
from legibility.rollouts.completion import Completion
from legibility.rollouts.fast import FastUnsupported, sample_fast
from legibility.rollouts.hf import sample_hf
from legibility.rollouts.vllm import sample_vllm

if TYPE_CHECKING:
    from legibility.models.prover import Prover

ENGINES = ("fast", "hf", "vllm")


@torch.no_grad()
def sample(
    prover: Prover,
    prompts: Sequence[Sequence[int]],
    samples: int,
    *,
    seed: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    engine: str = "fast",
    batch: int = 256,
    value_head: Callable[[torch.Tensor], torch.Tensor] | None = None,
    vllm: VLLMSettings | None = None,
) -> list[list[Completion]]:
    """Completions [prompt][sample]. `batch` is how many are decoded together.

    Prompts of similar length are decoded together, whatever their order; results come back in the
    order given. A `value_head` (hidden states -> values) makes the fast engine keep its values too.
    Raises ValueError for an unknown engine, UserError where vLLM is asked for and cannot run.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    if engine == "vllm":
        flat = sample_vllm(
            prover, [list(p) for p in prompts], samples, seed=seed, max_new_tokens=max_new_tokens, temperature=temperature,
            settings=vllm or VLLMSettings(),
        )  # fmt: skip
        return [flat[i : i + samples] for i in range(0, len(flat), samples)]
    noise = uniforms(seed, np.arange(len(prompts) * samples), max_new_tokens)  # (prompt*sample, position)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))
    per_chunk = max(1, batch // samples)
    results: list[list[Completion]] = [[] for _ in prompts]
    was_training = prover.model.training
    prover.model.eval()
    try:
        for start in range(0, len(order), per_chunk):
            chunk = order[start : start + per_chunk]
            rows = [i * samples + j for i in chunk for j in range(samples)]
            chunk_prompts = [list(prompts[i]) for i in chunk]
            if engine == "fast":
                try:
                    flat = sample_fast(prover, chunk_prompts, samples, noise[rows], temperature, value_head)
                except FastUnsupported as reason:
                    warnings.warn(f"fast engine cannot run this model ({reason}); using plain generate", stacklevel=2)
                    engine = "hf"
            if engine == "hf":
                flat = sample_hf(prover, chunk_prompts, samples, noise[rows], temperature)
            for k, i in enumerate(chunk):
                results[i] = flat[k * samples : (k + 1) * samples]
    finally:
        prover.model.train(was_training)
    return results
