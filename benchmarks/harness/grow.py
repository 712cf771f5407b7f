"""A larger model that computes exactly what a small Llama computes, for timings at equal lengths.

New hidden dimensions stay zero, new heads, feed-forward units and layers are random but their output
projections are zero (function-preserving growth, Chen et al. 2016, "Net2Net"). Dense products do not
skip zeros, so time and memory are those of any model of that size, while text lengths and accuracy
are the small model's. Real models of these sizes have wider heads and larger vocabularies.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


@torch.no_grad()
def grow(small: Any, hidden: int, layers: int, seed: int = 0) -> LlamaForCausalLM:
    """A Llama with tied embeddings of that width and depth, equal to `small` up to rounding.

    Raises ValueError where the new size is not at least as large, or its width not a whole number of heads.
    """
    old = small.config
    ratio = hidden / old.hidden_size
    if hidden < old.hidden_size or layers < old.num_hidden_layers or hidden % old.head_dim:
        raise ValueError(f"cannot grow {old.hidden_size} x {old.num_hidden_layers} to {hidden} x {layers}")
    config = copy.deepcopy(old)
    config.hidden_size, config.num_hidden_layers = hidden, layers
    config.intermediate_size = round(old.intermediate_size * ratio)
    config.rms_norm_eps = old.rms_norm_eps / ratio  # the mean square is taken over more dimensions, the new ones zero
    config.num_attention_heads = config.num_key_value_heads = hidden // old.head_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        large = LlamaForCausalLM(config).eval()
    norm = ratio**-0.5
    _place(large.model.embed_tokens.weight, small.model.embed_tokens.weight, outside=0.0)
    _place(large.model.norm.weight, small.model.norm.weight * norm, outside=1.0)
    for i, layer in enumerate(large.model.layers):
        out, down = layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight
        out.zero_()
        down.zero_()
        if i >= old.num_hidden_layers:
            continue
        source = small.model.layers[i]
        for name in ("q_proj", "k_proj", "v_proj"):
            _place(getattr(layer.self_attn, name).weight, getattr(source.self_attn, name).weight)
        for name in ("gate_proj", "up_proj"):
            _place(getattr(layer.mlp, name).weight, getattr(source.mlp, name).weight)
        _place(out, source.self_attn.o_proj.weight)
        _place(down, source.mlp.down_proj.weight)
        for name in ("input_layernorm", "post_attention_layernorm"):
            _place(getattr(layer, name).weight, getattr(source, name).weight * norm, outside=1.0)
    return large


def _place(target: torch.Tensor, source: torch.Tensor, outside: float | None = None) -> None:
    """Write `source` into the first rows and columns of `target`; the rest becomes `outside`, or stays."""
    if outside is not None:
        target.fill_(outside)
    target[tuple(slice(n) for n in source.shape)] = source


def grown_folder(source: str, cache: Path, hidden: int, layers: int) -> str:
    """A saved grown model with its tokenizer, made now if it is not in the cache."""
    folder = cache / "models" / f"grown-{hidden}x{layers}"
    if not (folder / "tokenizer_config.json").is_file():
        grow(AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32), hidden, layers).save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)
