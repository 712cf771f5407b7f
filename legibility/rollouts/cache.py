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
    """Rows of one prompt share a cache in groups of `width`: its keys and values once, then every row's own in turns.

    On a CPU one attention call over a group is cheaper than one per row, although each row also computes
    (masked) scores on the tokens of the others. Elsewhere every row is a group of its own.
    """

    def __init__(self, decoder: FlatDecoder) -> None:
        self.decoder = decoder

    def prefill(self, ids: torch.Tensor, lengths: torch.Tensor, samples: int, limit: int) -> torch.Tensor:
        """Read the prompts once and make room for `limit` more tokens of every row (see `Stepper.prefill`)."""
        prompts, longest = ids.shape
        decoder, device, dtype = self.decoder, ids.device, self.decoder.dtype
        real = torch.arange(longest, device=device) >= longest - lengths[:, None]
        causal = real[:, None, :] & torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        mask = additive(causal | torch.eye(longest, dtype=torch.bool, device=device), dtype)[:, None]
        self.width = width = group_width(samples, limit) if device.type == "cpu" else 1
        rows, groups, capacity = prompts * samples, prompts * samples // width, longest + width * limit
        shape = (groups, capacity, decoder.key_heads, decoder.head_dim)
        # zeros: a finished row writes nothing, and what is masked must still be a number
        self.keys, self.values = (
            [torch.zeros(shape, dtype=dtype, device=device) for _ in range(decoder.layers)] for _ in range(2)
        )
        positions = (torch.arange(longest, device=device) - (longest - lengths)[:, None]).clamp_min(0)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            q, k, v = (
                x.view(prompts, -1, *x.shape[1:]) for x in (q, k, v)
            )  # q of the last places alone in the last layer
            for cache, new in ((self.keys, k), (self.values, v)):
                cache[layer].view(prompts, -1, capacity, *new.shape[2:])[:, :, :longest] = new[:, None]
            out = sdpa(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask[:, :, -q.shape[1] :])
            return out.transpose(1, 2).flatten(0, 1).flatten(1)

        last = torch.arange(1, prompts + 1, device=device) * longest - 1
        hidden = decoder.forward(ids.flatten(), decoder.rotary(positions.flatten()), attend, last)
        self.place, self.slot = longest, torch.arange(rows, device=device)  # slot: group * width + turn
        self.full = True  # no slot is empty and rows stand in their order
        self.position = lengths.repeat_interleave(samples)
        prompt = real.repeat_interleave(samples // width, 0)[:, None].expand(-1, width, -1)
        own = torch.eye(width, dtype=torch.bool, device=device).repeat(1, limit).expand(groups, -1, -1)
        self.mask = additive(torch.cat([prompt, own], 2), dtype)[:, None]  # (groups, 1, width, capacity)
        cos, sin = decoder.rotary(torch.arange(longest + limit, device=device))
        self.cos, self.sin = cos, sin
        return hidden.repeat_interleave(samples, 0)

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """One token more for every live row (see `Stepper.step`)."""
        width, slot, groups = self.width, self.slot, len(self.mask)
        place, end = self.place, self.place + width
        group, turn = slot // width, place + slot % width

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            keys, values = self.keys[layer], self.values[layer]
            keys[group, turn], values[group, turn] = k, v
            if not self.full:
                q = q.new_zeros(groups * width, *q.shape[1:]).index_copy_(0, slot, q)
            keys, values = (x[:groups, :end].transpose(1, 2) for x in (keys, values))
            out = sdpa(q.view(groups, width, *q.shape[1:]).transpose(1, 2), keys, values, self.mask[..., :end])
            out = out.transpose(1, 2).flatten(0, 1).flatten(1)
            return out if self.full else out[slot]

        rotary = self.cos[self.position], self.sin[self.position]
        self.place, self.position = end, self.position + 1
        return self.decoder.forward(token, rotary, attend)

    def keep(self, holes: torch.Tensor, movers: torch.Tensor, rows: int) -> None:
        """Drop finished rows (see `Stepper.keep`)."""
        for x in (self.slot, self.position):
            x[holes] = x[movers]
        self.slot, self.position = self.slot[:rows], self.position[:rows]
        group = self.slot // self.width
        alive = torch.zeros(len(self.mask), dtype=torch.bool, device=group.device)
        alive[group] = True
        left = int(alive.sum())
        empty, last = (~alive[:left]).nonzero()[:, 0], alive[left:].nonzero()[:, 0] + left
        for cache in (*self.keys, *self.values):
            cache[empty, : self.place] = cache[last, : self.place]
        self.mask[empty] = self.mask[last]
        self.mask = self.mask[:left]
        moved = torch.arange(len(alive), device=group.device).index_copy_(0, last, empty)
        self.slot = moved[group] * self.width + self.slot % self.width
        self.full = torch.equal(self.slot, torch.arange(left * self.width, device=group.device))


class CacheStepper:
    """Every row has a cache of its own, in transformers' layout, and takes steps through the model's own forward."""

    def __init__(self, model: Any) -> None:
        self.model, self.decoder = model, model.get_decoder()

    def prefill(self, ids: torch.Tensor, lengths: torch.Tensor, samples: int, limit: int) -> torch.Tensor:
        """Read the prompts once and make room for `limit` more tokens of every row (see `Stepper.prefill`)."""
        (prompts, longest), device = ids.shape, ids.device
        self.dtype = self.model.get_input_embeddings().weight.dtype
        self.cache = DynamicCache()
        self.layers = [PreallocatedLayer(longest + limit) for _ in range(self.model.config.num_hidden_layers)]
        self.cache.layers = [*self.layers]
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
        for layer in self.layers:
            layer.select(expand)
        self.place, self.position = longest, lengths[expand]
        seen = torch.cat([real, torch.zeros(prompts, limit, dtype=torch.bool, device=device)], 1)
        self.mask = additive(seen, self.dtype)[expand]
        return hidden[expand]

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """One token more for every live row (see `Stepper.step`)."""
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
        """Drop finished rows (see `Stepper.keep`)."""
        order = torch.arange(rows, device=holes.device)
        order[holes] = movers
        for layer in self.layers:
            layer.select(order)
        self.mask, self.position = self.mask[order], self.position[order]


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one layer in buffers sized for the whole completion: (rows, heads, length, dim)."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states (rows, heads, new, dim). Returns everything so far, (rows, heads, length, dim) each."""
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
        """How many tokens are cached."""
        return self.length

    def select(self, rows: torch.Tensor) -> None:
        """Keep (or repeat) the given rows, copying only what is filled."""
        for name in ("key_buffer", "value_buffer"):
            old = getattr(self, name)
            new = old.new_empty(len(rows), *old.shape[1:])
            new[:, :, : self.length] = old[rows, :, : self.length]
            setattr(self, name, new)


LONG = 160  # new tokens; with more, rows of a group spend too long on each other's


def group_width(samples: int, limit: int) -> int:
    """Rows of a prompt that attend together: the largest divisor of `samples` up to five, of long texts up to two (docs/log.md)."""
    return max(width for width in range(1, 6 if limit <= LONG else 3) if samples % width == 0)


def additive(allowed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """An attention mask to add to logits: 0 where `allowed` (bool, any shape), the lowest number elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)
