"""How a model may be read: prompts shared under a tree mask, or every text a row of its own.

Sharing a prompt between its completions (`legibility.packing`) is exact only where tokens meet in attention
alone, under the mask and at the positions they are given. Convolutions, state-space and linear-attention
layers mix neighbours whatever the mask says, and some models count places rather than positions; such models
are read in plain rows. `LISTED` are architectures that tests hold against plain rows; every other one is
checked when it is loaded (`legibility.models.self_check`).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from legibility.errors import UserError
from legibility.packing import PlainRows


class Route(Enum):
    """Ways through a model, the fastest first."""

    SHARED = "prompts shared under a tree mask"
    ROWS = "one padded row a text"
    ALONE = "one text at a time"


# fmt: off
LISTED = frozenset([
    "llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "gpt_neox",
    "gpt2", "gptj", "gpt_bigcode", "phi", "phi3", "stablelm", "starcoder2", "granite", "cohere",
    "cohere2", "olmo2", "olmo3", "smollm3", "mixtral", "glm4",
])
# fmt: on
# Settings of layers that look back so many tokens only, or that join so many into one.
LOCAL = re.compile("(?<!max_)window|chunk|local_attention|block_size|compress")
SHORT_WINDOW = 64  # tokens; texts of nearly all games are longer, so that sharing would not pay


def decoder_of(model: Any) -> Any:
    """The network below a causal model's or classifier's head."""
    found = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
    return model.model if found is model and hasattr(model, "model") else found  # Llama 4 answers with itself


def attention_window(config: Any) -> int | None:
    """How many tokens back some layer of the model can look, or None where all see everything."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return None
    return window if kinds is None or any(kind != "full_attention" for kind in kinds) else None


def is_listed(config: Any) -> bool:
    """Whether sharing is known to be right for this architecture as it is configured."""
    if getattr(config, "model_type", None) not in LISTED or _reads_ahead(config):
        return False
    window = attention_window(config)
    return window is None or window >= SHORT_WINDOW


def _reads_ahead(config: Any) -> bool:
    """Whether a decoder was turned into a model that reads both ways (for embeddings, say)."""
    return getattr(config, "is_causal", True) is False or bool(getattr(config, "use_bidirectional_attention", False))


def full_rotary(config: Any) -> bool:
    """Whether all of a head turns with the position, not its first part alone."""
    return all(_rope(rope, "partial_rotary_factor", 1.0) == 1.0 for rope in _ropes(config))


def may_share(config: Any) -> bool:
    """Whether sharing is worth a check: not where layers look back a number of places that a short check cannot reach."""
    window = attention_window(config)
    if window is not None and window < SHORT_WINDOW:
        return False
    others = {k: v for k, v in vars(config).items() if window is None or "sliding_window" not in k}
    return not any(LOCAL.search(name) and isinstance(value, int | dict) and value for name, value in others.items())


def check_length(config: Any, positions: torch.Tensor, role: str) -> None:
    """Refuse texts beyond which the angles of all tokens change with a text's length (dynamic and long rotary scaling).

    positions (N,) of tokens in their texts. Raises UserError: the same token would have one log-prob when it is sampled and another when it is trained on.
    """
    for rope in _ropes(config):
        if _rope(rope, "rope_type", "default") not in ("dynamic", "longrope"):
            continue
        limit = _rope(rope, "original_max_position_embeddings", None) or config.max_position_embeddings
        if (longest := int(positions.max()) + 1) > limit:
            raise UserError(
                f"{role}.model: beyond {limit} tokens this model turns all positions by the length of the whole text "
                f"and a text has {longest}; use shorter problems or completions, or another model"
            )


def rows_hidden(model: Any, rows: PlainRows, places: torch.Tensor, route: Route) -> torch.Tensor:
    """Last hidden states (M, hidden) at packed places (M,), every text read by the model's own forward."""
    decoder = decoder_of(model)
    if route is Route.ALONE:
        states = [last_hidden(decoder(input_ids=text[None], use_cache=False))[0] for text in rows.texts]
        hidden = pad_sequence(states, batch_first=True)
    else:
        ids = pad_sequence(rows.texts, batch_first=True)
        lengths = torch.tensor([len(text) for text in rows.texts], device=ids.device)
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        hidden = last_hidden(decoder(input_ids=ids, attention_mask=mask, use_cache=False))
    return hidden[rows.row[places], rows.column[places]]


def last_hidden(output: Any) -> torch.Tensor:
    """The last hidden states (batch, time, hidden) in what a decoder returns."""
    states: torch.Tensor = output.last_hidden_state
    return states


def _ropes(config: Any) -> list[Any]:
    """The rotary settings of a configuration: one dictionary, or one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or {}
    return list(found.values()) if found and all(isinstance(x, dict) for x in found.values()) else [found]


def _rope(rope: Any, name: str, default: Any) -> Any:
    value = rope.get(name) if isinstance(rope, dict) else None
    return default if value is None else value
