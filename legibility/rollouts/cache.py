"""Key-value caches of the fast engine, and how a model takes one decoding step with them.

`FlatStepper` runs the Llama family through `legibility.models.flat`; `CacheStepper` runs any other
decoder that accepts a transformers `Cache`, through its own forward. Both keep preallocated buffers,
prefill every prompt once, and drop finished rows by moving live rows from the end into their places.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from legibility.models.flat import FlatDecoder, sdpa


class Stepper(Protocol):
    """Rows of texts that grow by one token a step; every prompt ends at cache place `longest`."""

    def prefill(self, ids: torch.Tensor, lengths: torch.Tensor, samples: int, limit: int) -> torch.Tensor:
        """Left-padded prompts (prompts, longest) -> the last hidden states (prompts * samples, hidden)."""

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """The next token (rows,) of every row -> its hidden states (rows, hidden)."""

    def keep(self, holes: torch.Tensor, movers: torch.Tensor, rows: int) -> None:
        """Move rows `movers` into places `holes` and forget everything from place `rows` on."""


class FlatStepper:
    def __init__(self, decoder: FlatDecoder) -> None:
        self.decoder = decoder

    def prefill(self, ids: torch.Tensor, lengths: torch.Tensor, samples: int, limit: int) -> torch.Tensor:
        prompts, longest = ids.shape
        decoder, device, dtype = self.decoder, ids.device, self.decoder.dtype
        real = torch.arange(longest, device=device) >= longest - lengths[:, None]
        causal = real[:, None, :] & torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        mask = additive(causal | torch.eye(longest, dtype=torch.bool, device=device), dtype)[:, None]
        rows, capacity = prompts * samples, longest + limit
        shape = (rows, capacity, decoder.key_heads, decoder.head_dim)
        self.keys, self.values = ([torch.empty(shape, dtype=dtype, device=device) for _ in range(decoder.layers)] for _ in range(2))
        positions = (torch.arange(longest, device=device) - (longest - lengths)[:, None]).clamp_min(0)

        def attend(layer, q, k, v):
            q, k, v = (x.view(prompts, -1, *x.shape[1:]) for x in (q, k, v))  # q of the last places alone in the last layer
            for cache, new in ((self.keys, k), (self.values, v)):
                cache[layer].view(prompts, samples, capacity, *new.shape[2:])[:, :, :longest] = new[:, None]
            out = sdpa(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask[:, :, -q.shape[1] :])
            return out.transpose(1, 2).flatten(0, 1).flatten(1)

        last = torch.arange(1, prompts + 1, device=device) * longest - 1
        hidden = decoder.forward(ids.flatten(), decoder.rotary(positions.flatten()), attend, last)
        self.place, self.rows = longest, rows
        self.position = lengths.repeat_interleave(samples)
        seen = torch.cat([real, torch.zeros(prompts, limit, dtype=torch.bool, device=device)], 1)
        self.mask = additive(seen, dtype).repeat_interleave(samples, 0)
        cos, sin = decoder.rotary(torch.arange(capacity, device=device))
        self.cos, self.sin = cos, sin
        return hidden.repeat_interleave(samples, 0)

    def step(self, token: torch.Tensor) -> torch.Tensor:
        place, rows = self.place, self.rows
        self.mask[:rows, place] = 0.0
        mask = self.mask[:rows, None, None, : place + 1]

        def attend(layer, q, k, v):
            keys, values = self.keys[layer][:rows], self.values[layer][:rows]
            keys[:, place], values[:, place] = k, v
            keys, values = (x[:, : place + 1].transpose(1, 2) for x in (keys, values))
            return sdpa(q[:, :, None], keys, values, mask).flatten(1)

        rotary = self.cos[self.position], self.sin[self.position]
        self.place, self.position = place + 1, self.position + 1
        return self.decoder.forward(token, rotary, attend)

    def keep(self, holes: torch.Tensor, movers: torch.Tensor, rows: int) -> None:
        for cache in (*self.keys, *self.values):
            cache[holes, : self.place] = cache[movers, : self.place]
        self.mask[holes], self.position[holes] = self.mask[movers], self.position[movers]
        self.position, self.rows = self.position[:rows], rows


class CacheStepper:
    def __init__(self, model: Any) -> None:
        self.model, self.decoder = model, model.get_decoder()

    def prefill(self, ids: torch.Tensor, lengths: torch.Tensor, samples: int, limit: int) -> torch.Tensor:
        (prompts, longest), device = ids.shape, ids.device
        self.dtype = self.model.get_input_embeddings().weight.dtype
        self.cache = DynamicCache()
        self.cache.layers = [PreallocatedLayer(longest + limit) for _ in range(self.model.config.num_hidden_layers)]
        real = torch.arange(longest, device=device) >= longest - lengths[:, None]
        causal = real[:, None, :] & torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        hidden = self.decoder(
            input_ids=ids,
            attention_mask=additive(causal | torch.eye(longest, dtype=torch.bool, device=device), self.dtype)[:, None],
            position_ids=(real.long().cumsum(1) - 1).clamp_min(0),
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        expand = torch.arange(prompts, device=device).repeat_interleave(samples)
        for layer in self.cache.layers:
            layer.select(expand)
        self.place, self.position = longest, lengths[expand]
        seen = torch.cat([real, torch.zeros(prompts, limit, dtype=torch.bool, device=device)], 1)
        self.mask = additive(seen, self.dtype)[expand]
        return hidden[expand]

    def step(self, token: torch.Tensor) -> torch.Tensor:
        self.mask[:, self.place] = 0.0
        out = self.decoder(
            input_ids=token[:, None],
            attention_mask=self.mask[:, None, None, : self.place + 1],
            position_ids=self.position[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        self.place, self.position = self.place + 1, self.position + 1
        return out.last_hidden_state[:, -1]

    def keep(self, holes: torch.Tensor, movers: torch.Tensor, rows: int) -> None:
        order = torch.arange(rows, device=holes.device)
        order[holes] = movers
        for layer in self.cache.layers:
            layer.select(order)
        self.mask, self.position = self.mask[order], self.position[order]


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

    def select(self, rows: torch.Tensor) -> None:
        """Keep (or repeat) the given rows, copying only what is filled."""
        for name in ("key_buffer", "value_buffer"):
            old = getattr(self, name)
            new = old.new_empty(len(rows), *old.shape[1:])
            new[:, :, : self.length] = old[rows, :, : self.length]
            setattr(self, name, new)


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)
