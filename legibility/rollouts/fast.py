"""The fast engine: each prompt prefilled once, a preallocated cache, finished rows dropped.

Runs any causal model that takes a transformers `Cache`, through its own forward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from legibility.models.loading import attention_window
from legibility.rollouts.completion import Completion, pick

if TYPE_CHECKING:
    from legibility.models.prover import Prover

COMPACT_EVERY = 4  # steps between looks for finished rows
COMPACT_BELOW = 0.85  # share of rows alive under which the finished ones are dropped


class FastUnsupported(Exception):
    """This model does not work with a standard growing cache."""


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one layer in buffers sized for the whole completion: (rows, heads, length, dim)."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def update(self, key_states, value_states, *args, **kwargs):
        new = key_states.shape[-2]
        if self.length == 0:
            rows, heads, _, dim = key_states.shape
            self.key_buffer = key_states.new_empty(rows, heads, self.capacity, dim)
            self.value_buffer = value_states.new_empty(rows, heads, self.capacity, value_states.shape[-1])
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
        self.key_buffer[:, :, self.length : self.length + new] = key_states
        self.value_buffer[:, :, self.length : self.length + new] = value_states
        self.length += new
        self.keys = self.key_buffer[:, :, : self.length]
        self.values = self.value_buffer[:, :, : self.length]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.length

    def keep(self, rows: torch.Tensor) -> None:
        """Keep (or repeat) the given rows, copying only what is filled."""
        for name in ("key_buffer", "value_buffer"):
            old = getattr(self, name)
            new = old.new_empty(len(rows), *old.shape[1:])
            new[:, :, : self.length] = old[rows, :, : self.length]
            setattr(self, name, new)


def sample_fast(
    prover: Prover, prompts: list[list[int]], samples: int, noise: np.ndarray, temperature: float
) -> list[Completion]:
    """One chunk: `noise` (prompts * samples, max_new_tokens) uniforms; completions in the same order."""
    model, device = prover.causal, prover.device
    if getattr(model.config, "is_encoder_decoder", False) or attention_window(model.config) is not None:
        raise FastUnsupported("not a plain full-attention decoder")
    decoder = model.get_decoder()
    rows, limit = noise.shape
    longest = max(map(len, prompts))
    cache = DynamicCache()
    cache.layers = [PreallocatedLayer(longest + limit) for _ in range(model.config.num_hidden_layers)]

    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    seen = torch.zeros(rows, longest + limit, dtype=torch.bool)  # which cache places a row may look at
    for i, prompt in enumerate(prompts):  # left padding: every row continues at the same cache place
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        seen[i * samples : (i + 1) * samples, longest - len(prompt) : longest] = True
    ids, seen = ids.to(device), seen.to(device)
    prompt_seen = seen[::samples, :longest]
    dtype = model.get_input_embeddings().weight.dtype
    out = decoder(
        input_ids=ids,
        attention_mask=_additive(
            (prompt_seen[:, None, :] & torch.ones(longest, longest, dtype=torch.bool, device=device).tril())
            | torch.eye(longest, dtype=torch.bool, device=device),
            dtype,
        )[:, None],
        position_ids=(prompt_seen.long().cumsum(1) - 1).clamp_min(0),
        past_key_values=cache,
        use_cache=True,
    )
    hidden = out.last_hidden_state[:, -1].repeat_interleave(samples, 0)
    expand = torch.arange(len(prompts), device=device).repeat_interleave(samples)
    for layer in cache.layers:
        layer.keep(expand)

    uniform = torch.from_numpy(noise).to(device)
    end = torch.tensor(sorted(prover.end_ids), device=device)
    tokens = torch.zeros(rows, limit, dtype=torch.long, device=device)
    logprobs = torch.zeros(rows, limit, device=device)
    lengths = torch.full((rows,), limit, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    live = torch.arange(rows, device=device)  # original row of each row still decoded
    position = seen.sum(1)
    allowed = _additive(seen, dtype)
    for t in range(limit):
        token, logprob = pick(prover.logits(hidden), uniform[live, t], temperature)
        tokens[live, t], logprobs[live, t] = token, logprob
        ended = torch.isin(token, end) & ~finished[live]
        lengths[live[ended]] = t + 1
        finished[live[ended]] = True
        if t + 1 == limit:
            break
        if t % COMPACT_EVERY == COMPACT_EVERY - 1:
            alive = ~finished[live]
            count = int(alive.sum())
            if count == 0:
                break
            if count < COMPACT_BELOW * len(live):
                chosen = alive.nonzero()[:, 0]
                for layer in cache.layers:
                    layer.keep(chosen)
                live, token, allowed, position = live[chosen], token[chosen], allowed[chosen], position[chosen]
        place = longest + t
        allowed[:, place] = 0.0
        out = decoder(
            input_ids=token[:, None],
            attention_mask=allowed[:, None, None, : place + 1],
            position_ids=(position + t)[:, None],
            past_key_values=cache,
            use_cache=True,
        )
        hidden = out.last_hidden_state[:, -1]
    return [
        Completion(tokens[i, :n].tolist(), logprobs[i, :n].tolist(), not done)
        for i, (n, done) in enumerate(zip(lengths.tolist(), finished.tolist(), strict=True))
    ]


def _additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)
