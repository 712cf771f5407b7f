"""A decoder's forward pass over real tokens only: rows of tokens instead of padded sequences.

Transformers' decoders want (batch, time) tensors, so everything but attention is computed for padding
too, and the last layer for positions nobody reads. Here tokens are one flat list (N, hidden);
attention alone is told how they belong together, by a function the caller gives. The weights, the
rotary tables and the feed-forward blocks are the model's own modules, so adapters and checkpoints
work as always; the result equals transformers' own forward to floating-point error (tests).

Covers the Llama family (Llama, SmolLM, Mistral without a window, Qwen2, Qwen3); `flat_decoder`
returns None for anything else, and callers then take the model's own forward.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from legibility.models.loading import FLEX
from legibility.models.routes import Route, attention_window, check_length, decoder_of, full_rotary, rows_hidden
from legibility.packing import PackedBatch
from legibility.sharding import through

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")

# (layer, query (n, heads, dim), key (N, key heads, dim), value (N, key heads, dim)) -> (n, heads * dim);
# the last layer is asked for the chosen tokens alone, n = M, every other one for all, n = N
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class FlatDecoder:
    """Wraps a transformers decoder (the model without its language-model head); holds no weights."""

    def __init__(self, decoder: Any) -> None:
        self.decoder, config = decoder, decoder.config
        self.heads = config.num_attention_heads
        self.key_heads = config.num_key_value_heads
        self.head_dim = decoder.layers[0].self_attn.head_dim
        self.dtype = decoder.embed_tokens.weight.dtype
        self.layers = len(decoder.layers)
        self.recomputes = any(getattr(layer, "gradient_checkpointing", False) for layer in decoder.layers)

    def attention(self, batch: PackedBatch) -> Attend:
        """Attention of packed tokens: group by group on a CPU, where calls are cheap.

        Elsewhere through FlexAttention where the model was loaded with it, or as one padded call.
        """
        if batch.ids.device.type == "cpu":
            return _by_group(batch, self.dtype, self.layers)
        if self.decoder.config._attn_implementation == FLEX:
            from legibility.models.flex import flex_tree_attention  # slow to import, and for GPUs only

            return flex_tree_attention(batch, self.layers)
        return _at_once(batch, self.dtype, self.layers)

    def rotary(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Half-width cosine and sine tables for positions (N,): each (N, 1, head dim / 2)."""
        weight = self.decoder.embed_tokens.weight
        cos, sin = self.decoder.rotary_emb(weight, positions[None])
        half = cos.shape[-1] // 2
        return cos[0, :, None, :half], sin[0, :, None, :half]

    def forward(
        self,
        ids: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        attend: Attend,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Last hidden states (N, hidden) of tokens ids (N,), or of the `chosen` (M,) ones alone."""
        x = self.decoder.embed_tokens(ids)
        recompute = self.recomputes and self.decoder.training and torch.is_grad_enabled()
        run = partial(checkpoint, self._layer, use_reentrant=False) if recompute else self._layer
        for i, layer in enumerate(self.decoder.layers):
            x = through(layer, run, i, x, rotary, attend, chosen if i == self.layers - 1 else None)
        return _norm(self.decoder.norm, x)

    def _layer(
        self,
        i: int,
        x: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        attend: Attend,
        chosen: torch.Tensor | None,
    ) -> torch.Tensor:
        layer = self.decoder.layers[i]
        attention = layer.self_attn
        h = _norm(layer.input_layernorm, x)
        queries, turned = h, rotary
        if chosen is not None:  # only these are read after the last layer; the others only lend keys and values
            queries, x, turned = h[chosen], x[chosen], (rotary[0][chosen], rotary[1][chosen])
        q = attention.q_proj(queries).view(len(queries), self.heads, -1)
        k = attention.k_proj(h).view(len(h), self.key_heads, -1)
        v = attention.v_proj(h).view(len(h), self.key_heads, -1)
        if hasattr(attention, "q_norm"):
            q, k = attention.q_norm(q), attention.k_norm(k)
        x = x + attention.o_proj(attend(i, rotate(q, *turned), rotate(k, *rotary), v))
        return x + layer.mlp(_norm(layer.post_attention_layernorm, x))


def flat_decoder(model: Any) -> FlatDecoder | None:
    """The flat form of a causal model or classifier, or None where its architecture is not covered."""
    config = model.config
    covered = getattr(config, "model_type", None) in MODEL_TYPES and full_rotary(config)
    if not covered or attention_window(config) is not None:
        return None
    return FlatDecoder(decoder_of(model))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x (N, heads, dim), in transformers' half-split layout (Su et al. 2021)."""
    return _Rotate.apply(x, cos, sin) if torch.is_grad_enabled() else _turn(x, cos, sin, 1)


class _Rotate(torch.autograd.Function):
    """A rotation's gradient is the rotation back: half the passes over memory that autograd would make."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1), None, None


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    out = torch.empty_like(x)
    (a, b), (first, second) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-sign)
    torch.mul(b, cos, out=second).addcmul_(a, sin, value=sign)
    return out


def _norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Root-mean-square norm (Zhang & Sennrich 2019); in reduced precision with the module's own casting."""
    if x.dtype != torch.float32:
        return module(x)
    if torch.is_grad_enabled():
        return _RMSNorm.apply(x, module.weight, module.variance_epsilon)
    return _normalised(x, module.variance_epsilon)[0].mul_(module.weight)


class _RMSNorm(torch.autograd.Function):
    """With its gradient written out: torch's own is a chain of elementwise passes, twice as slow on CPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        unit, scale = _normalised(x, epsilon)
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        unit, scale, weight = ctx.saved_tensors
        along = grad * unit
        grad_weight = along.sum(0) if ctx.needs_input_grad[1] else None
        mean = (along @ weight).div_(-unit.shape[-1])[:, None]
        return torch.addcmul(grad * weight, unit, mean).mul_(scale), grad_weight, None


def _normalised(x: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """x (N, hidden) over its root mean square, and one over that: (N, hidden), (N, 1)."""
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return x * scale, scale


def packed_hidden(model: Any, batch: PackedBatch, role: str = "prover", route: Route = Route.SHARED) -> torch.Tensor:
    """Hidden states (M, hidden) behind the batch's completion tokens: shared prompts, or the plain rows of `route`.

    Sharing takes the flat path where the model has one, and gives way to rows where a text is longer than the
    model's attention window. Raises UserError for a text too long for the model's positions; `role` names it.
    """
    check_length(model.config, batch.positions, role)
    window = attention_window(model.config)
    if route is Route.SHARED and window is not None and int(batch.positions.max()) + 1 > window:
        route = Route.ROWS  # the tree mask says nothing of windows; the model's own does
    if route is not Route.SHARED:
        return rows_hidden(model, batch.rows, batch.chosen, route)
    flat = flat_decoder(model)
    if flat is not None:
        return flat.forward(batch.ids, flat.rotary(batch.positions), flat.attention(batch), batch.chosen)
    rows = batch.padded(model.get_input_embeddings().weight.dtype)
    hidden = decoder_of(model)(
        input_ids=rows.ids, attention_mask=rows.mask, position_ids=rows.positions, use_cache=False
    ).last_hidden_state
    return hidden.flatten(0, 1)[rows.place[batch.chosen]]


def _by_group(batch: PackedBatch, dtype: torch.dtype, layers: int) -> Attend:
    every, chosen = (batch.lengths, batch.masks(dtype)), (batch.counts, batch.chosen_masks(dtype))

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        sizes, masks = chosen if layer == layers - 1 else every
        q = q.transpose(0, 1)[None].split(sizes, 2)
        k, v = (x.transpose(0, 1)[None].split(batch.lengths, 2) for x in (k, v))
        return torch.cat([sdpa(*group)[0].transpose(0, 1) for group in zip(q, k, v, masks, strict=True)]).flatten(1)

    return attend


def _at_once(batch: PackedBatch, dtype: torch.dtype, layers: int) -> Attend:
    rows = batch.padded(dtype)

    def spread(x: torch.Tensor, place: torch.Tensor, width: int) -> torch.Tensor:
        """x (n, heads, dim) -> (B, heads, width, dim)."""
        padded = x.new_zeros(len(rows.ids) * width, *x.shape[1:]).index_copy(0, place, x)
        return padded.unflatten(0, (-1, width)).transpose(1, 2)

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        place, mask = (rows.chosen_place, rows.chosen_mask) if layer == layers - 1 else (rows.place, rows.mask)
        k, v = (spread(x, rows.place, rows.ids.shape[1]) for x in (k, v))
        out = sdpa(spread(q, place, mask.shape[2]), k, v, mask)
        return out.transpose(1, 2).flatten(0, 1)[place].flatten(1)

    return attend


def sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention of q (B, heads, n, dim) over k, v (B, key heads, m, dim) under an additive mask."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
