"""The slowest engine: every text read anew for every token, without a cache and without padding on the left.

For models whose cache does not give what a plain forward pass gives; nothing is left in it that could be wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from legibility.models.routes import Route, rows_hidden
from legibility.packing import PlainRows
from legibility.rollouts.completion import Completion, pick

if TYPE_CHECKING:
    from legibility.models.prover import Prover


def sample_plain(
    prover: Prover, prompts: list[list[int]], samples: int, noise: np.ndarray, temperature: float
) -> list[Completion]:
    """Completions of one chunk, by the contract of `sample_fast`: `noise` (prompts * samples, max_new_tokens)."""
    rows, limit = noise.shape
    uniform = torch.from_numpy(noise).to(prover.device)
    route = Route.ROWS if prover.route is Route.SHARED else prover.route
    texts = [torch.tensor(prompts[i // samples], device=prover.device) for i in range(rows)]
    completions = [Completion([], [], True) for _ in range(rows)]
    live, end_ids = list(range(rows)), prover.end_ids
    for t in range(limit):
        chosen = [texts[i] for i in live]
        places = torch.arange(len(live), device=prover.device)
        ends = torch.tensor([len(text) - 1 for text in chosen], device=prover.device)
        hidden = rows_hidden(prover.causal, PlainRows(chosen, places, ends), places, route)
        token, logprob = pick(prover.logits(hidden), uniform[live, t], temperature)
        for k, (i, chosen_id, value) in enumerate(zip(live, token.tolist(), logprob.tolist(), strict=True)):
            texts[i] = torch.cat([texts[i], token[k : k + 1]])
            completions[i].ids.append(chosen_id)
            completions[i].logprobs.append(value)
            completions[i].truncated = chosen_id not in end_ids
        live = [i for i in live if completions[i].truncated]
        if not live:
            break
    return completions
