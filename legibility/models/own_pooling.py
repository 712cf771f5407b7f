"""A classifier's scores by its own forward and pooling: encoders, and heads that read something else than the last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from legibility.models.routes import Route


class Padding(Enum):
    """Where the shorter texts of a batch are filled up. NONE: every text is a batch of its own."""

    RIGHT = "right"
    LEFT = "left"
    NONE = "none"


@dataclass(frozen=True)
class ScoreReading:
    """How scores are read: a head on the last token by a route, or (None) the model's own forward with a padding."""

    route: Route | None
    padding: Padding = Padding.RIGHT


def own_scores(model: Any, texts: Sequence[Sequence[int]], padding: Padding, pad_id: int) -> torch.Tensor:
    """Scores (n,) in float32 of encoded texts by the model's own forward."""
    if padding is Padding.NONE:
        return torch.cat([own_scores(model, [text], Padding.RIGHT, pad_id) for text in texts])
    device = model.get_input_embeddings().weight.device
    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, text in enumerate(texts):
        place = slice(0, len(text)) if padding is Padding.RIGHT else slice(longest - len(text), longest)
        ids[i, place], mask[i, place] = torch.tensor(text), 1
    logits: torch.Tensor = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
    return logits.float().squeeze(-1)


def longest_text(model: Any, wanted: int) -> int:
    """How many tokens a text may have: `wanted`, or what the model has positions for.

    RoBERTa and its kin leave the places up to the padding index out of their table of positions.
    """
    told = getattr(model.config, "max_position_embeddings", None)
    limit = min(wanted, told) if told is not None and told > 0 else wanted  # XLNet says -1: no limit
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.rpartition(".")[2] == "position_embeddings" and padding is not None:
            limit = min(limit, module.weight.shape[0] - padding - 1)
    return limit
