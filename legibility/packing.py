"""Shared-prefix packing: a prompt and all its completions as one sequence under a tree mask.

Not in the paper; it computes exactly what separate padded rows would, with the prompt processed
once per group instead of once per completion. Token t of completion j sits after the prompt at
position len(prompt) + t and sees the prompt and its own completion only. Masks come from lengths,
never from the pad id, because a policy may sample that id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass
class PackedBatch:
    """Groups as rows. B groups, T longest packed row, N completion tokens in all.

    ids, positions (B, T); mask (B, 1, T, T) additive float; row, column (N,) where the hidden state
    that predicts completion token n stands; target (N,) the token it predicts. Tokens are ordered by
    group, completion, position.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    target: torch.Tensor

    def to(self, device: torch.device | str) -> PackedBatch:
        return PackedBatch(**{k: v.to(device) for k, v in vars(self).items()})


def pack(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    dtype: torch.dtype = torch.float32,
) -> PackedBatch:
    """Pack prompts[g] with completions[g][j]. Every prompt and completion must be non-empty."""
    segments, owners, places, rows, columns, targets = [], [], [], [], [], []
    for g, (prompt, answers) in enumerate(zip(prompts, completions, strict=True)):
        segment, owner, place = list(prompt), [-1] * len(prompt), list(range(len(prompt)))
        for j, answer in enumerate(answers):
            columns.append(len(prompt) - 1)  # the prompt's last token predicts every first token
            columns += range(len(segment), len(segment) + len(answer) - 1)
            rows += [g] * len(answer)
            targets += answer
            # the last token predicts nothing, so it needs no place in the sequence
            segment += answer[:-1]
            owner += [j] * (len(answer) - 1)
            place += range(len(prompt), len(prompt) + len(answer) - 1)
        segments.append(segment)
        owners.append(owner)
        places.append(place)
    longest = max(map(len, segments))
    ids = torch.zeros(len(segments), longest, dtype=torch.long)
    positions = torch.zeros(len(segments), longest, dtype=torch.long)
    owned = torch.full((len(segments), longest), -2)  # -2: padding
    for g, (segment, owner, place) in enumerate(zip(segments, owners, places, strict=True)):
        ids[g, : len(segment)] = torch.tensor(segment)
        positions[g, : len(place)] = torch.tensor(place)
        owned[g, : len(owner)] = torch.tensor(owner)
    same = (owned[:, None, :] == -1) | (owned[:, None, :] == owned[:, :, None])
    allowed = same & torch.ones(longest, longest, dtype=torch.bool).tril()
    allowed |= torch.eye(longest, dtype=torch.bool)  # padding sees itself, so no row is all masked
    mask = torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)
    return PackedBatch(
        ids, positions, mask[:, None], torch.tensor(rows), torch.tensor(columns), torch.tensor(targets)
    )
