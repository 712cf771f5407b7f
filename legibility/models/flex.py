"""Attention of packed tokens through FlexAttention: variable lengths and the tree mask without padding (GPU).

All tokens of a packed batch stand in one sequence; a block mask skips what lies outside a token's own
group, and inside a group tells prompt from completions as `legibility.packing` does (He et al. 2024,
"FlexAttention"). Sequences are padded to a multiple of 128, so that few lengths have to be compiled.
On a CPU torch has no gradient of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from legibility.packing import PADDING, PROMPT, PackedBatch

BLOCK = 128


def flex_tree_attention(batch: PackedBatch, layers: int) -> Callable[..., torch.Tensor]:
    """The attention of a packed batch, as `legibility.models.flat.Attend` takes it."""
    every, chosen = batch.remembered("flex", lambda: _block_masks(batch))

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        mask = chosen if layer == layers - 1 else every
        queries, keys, values = (_filled(x).transpose(0, 1)[None] for x in (q, k, v))
        out = _attention(q.device.type)(queries, keys, values, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
        return out[0, :, : len(q)].transpose(0, 1).flatten(1)

    return attend


def _block_masks(batch: PackedBatch) -> tuple[Any, Any]:
    """Block masks of all tokens as queries, and of the chosen ones alone."""
    device, lengths = batch.ids.device, torch.tensor(batch.lengths, device=batch.ids.device)
    group = _filled(torch.arange(len(lengths), device=device).repeat_interleave(lengths), PADDING)
    owner, query = _filled(batch.owner, PADDING), _filled(batch.chosen)

    def sees(b: Any, h: Any, i: Any, j: Any) -> Any:
        return (group[i] == group[j]) & (i >= j) & ((owner[j] == PROMPT) | (owner[i] == owner[j]))

    def chosen_sees(b: Any, h: Any, i: Any, j: Any) -> Any:
        return sees(b, h, query[i], j)

    def block_mask(mask: Any, rows: int) -> Any:
        return create_block_mask(mask, None, None, rows, len(group), device=device, BLOCK_SIZE=BLOCK)

    return block_mask(sees, len(group)), block_mask(chosen_sees, len(query))


def _filled(x: torch.Tensor, value: int = 0) -> torch.Tensor:
    """x (n, …) with its first dimension filled up to a multiple of BLOCK."""
    return F.pad(x, (*(0, 0) * (x.dim() - 1), 0, -len(x) % BLOCK), value=value)


@cache
def _attention(device: str) -> Any:
    """Compiled on a GPU; on a CPU, where it is only tested, as it is."""
    return flex_attention if device == "cpu" else torch.compile(flex_attention)
