"""The plain engine: transformers' `generate`, drawing from the same keyed random numbers.

Slower, but works wherever `generate` works; the fast engine is tested against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from legibility.rollouts.completion import Completion, pick

if TYPE_CHECKING:
    from legibility.models.prover import Prover


class _KeyedSampler(LogitsProcessor):
    """Chooses each token itself and leaves `generate`'s greedy search no other choice."""

    def __init__(self, uniform: torch.Tensor, temperature: float, start: int) -> None:
        self.uniform, self.temperature, self.start = uniform, temperature, start
        self.logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token, logprob = pick(scores, self.uniform[:, input_ids.shape[1] - self.start], self.temperature)
        self.logprobs.append(logprob)
        return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)


def sample_hf(
    prover: Prover, prompts: list[list[int]], samples: int, noise: np.ndarray, temperature: float
) -> list[Completion]:
    """Completions of one chunk, by the contract of `sample_fast`: `noise` (prompts * samples, max_new_tokens)."""
    rows, limit = noise.shape
    longest = max(map(len, prompts))
    ids = torch.zeros(rows, longest, dtype=torch.long)
    mask = torch.zeros(rows, longest, dtype=torch.long)
    for i in range(rows):
        prompt = prompts[i // samples]
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        mask[i, longest - len(prompt) :] = 1
    sampler = _KeyedSampler(torch.from_numpy(noise).to(prover.device), temperature, longest)
    end = sorted(prover.end_ids)
    settings = GenerationConfig(
        max_new_tokens=limit, do_sample=False, num_beams=1, eos_token_id=end, pad_token_id=end[0] if end else 0
    )
    model = prover.causal
    own, model.generation_config = model.generation_config, GenerationConfig()  # its defaults would be merged in
    try:
        out = model.generate(
            input_ids=ids.to(prover.device),
            attention_mask=mask.to(prover.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList([sampler]),
            synced_gpus=False,  # weights that ranks share are gathered for all of it, so none waits for another
        )
    finally:
        model.generation_config = own
    tokens = out[:, longest:].tolist()
    logprobs = torch.stack(sampler.logprobs, 1).tolist()
    completions = []
    for row, values in zip(tokens, logprobs, strict=True):
        stop = next((k + 1 for k, token in enumerate(row) if token in prover.end_ids), None)
        length = len(row) if stop is None else stop
        completions.append(Completion(row[:length], values[:length], stop is None))
    return completions
