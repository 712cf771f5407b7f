"""Shared-prefix packing: a prompt and all its completions as one sequence under a tree mask.

Not in the paper; it computes exactly what separate padded rows would, with the prompt processed
once per group instead of once per completion. Token t of completion j has position len(prompt) + t,
and sees the prompt and its own completion only. Masks come from lengths,
never from the pad id, because a policy may sample that id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch.nn.utils.rnn import pad_sequence

T = TypeVar("T")
PROMPT, PADDING = -1, -2  # owners that are no completion


@dataclass
class PackedBatch:
    """Groups one after another, without padding. N packed tokens, M completion tokens.

    ids, positions, owner (N,): token, place in its own text, completion of its group it belongs to (or
    PROMPT); lengths: tokens of every group; chosen (M,): where the hidden state stands that predicts
    completion token m; target (M,): that token. Completion tokens are ordered by group, completion, position.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    owner: torch.Tensor
    lengths: list[int]
    chosen: torch.Tensor
    target: torch.Tensor
    _masks: dict[Any, Any] = field(default_factory=dict, repr=False)

    def to(self, device: torch.device | str) -> PackedBatch:
        """The batch on another device."""
        ids, positions, owner, chosen, target = (
            x.to(device) for x in (self.ids, self.positions, self.owner, self.chosen, self.target)
        )
        return PackedBatch(ids, positions, owner, self.lengths, chosen, target)

    def masks(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Additive attention masks (1, 1, n, n), one for every group."""
        return self.remembered(dtype, lambda: [_mask(owner[None], dtype) for owner in self.owner.split(self.lengths)])

    def remembered(self, key: Any, make: Callable[[], T]) -> T:
        """The result of `make()`, computed once per batch and key. Several networks read one batch and share its masks."""
        if key not in self._masks:
            self._masks[key] = make()
        return self._masks[key]

    @cached_property
    def counts(self) -> list[int]:
        """Chosen places of each group: its completion tokens."""
        ends = torch.tensor(self.lengths, device=self.chosen.device).cumsum(0)
        return torch.bincount(torch.bucketize(self.chosen, ends, right=True), minlength=len(ends)).tolist()

    def chosen_masks(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """The rows of `masks` at the chosen places (1, 1, m, n), one tensor for every group."""
        groups = zip(self.masks(dtype), self._within_groups(), strict=True)
        return self.remembered((dtype, "chosen"), lambda: [mask[:, :, rows] for mask, rows in groups])

    def _within_groups(self) -> tuple[torch.Tensor, ...]:
        """The chosen places (m,) of every group, counted from its first token."""
        starts = torch.tensor([0, *self.lengths[:-1]], device=self.chosen.device).cumsum(0)
        counts = torch.tensor(self.counts, device=self.chosen.device)
        return (self.chosen - starts.repeat_interleave(counts)).split(self.counts)

    @cached_property
    def rows(self) -> PlainRows:
        """The same texts without sharing: every completion a row behind its own copy of the prompt."""
        ids, owners = self.ids.split(self.lengths), self.owner.split(self.lengths)
        starts = torch.tensor([0, *self.lengths[:-1]]).cumsum(0).tolist()
        row, column = torch.zeros_like(self.ids), torch.zeros_like(self.ids)
        texts: list[torch.Tensor] = []
        for start, group, owner in zip(starts, ids, owners, strict=True):
            prompt = (owner == PROMPT).nonzero()[:, 0]
            members = [k for k in owner.unique().tolist() if k != PROMPT]
            for k in members or [PROMPT]:  # completions of one token need no place behind the prompt
                own = (owner == k).nonzero()[:, 0] if k != PROMPT else prompt[:0]
                places = torch.cat([prompt, own])
                row[start + places], column[start + places] = (len(texts), torch.arange(len(places), device=row.device))
                texts.append(group[places])
        return PlainRows(texts, row, column)

    def padded(self, dtype: torch.dtype) -> PaddedBatch:
        """The same tokens as rectangular tensors."""
        ids, positions = (pad_sequence(x.split(self.lengths), batch_first=True) for x in (self.ids, self.positions))
        owner = pad_sequence(self.owner.split(self.lengths), batch_first=True, padding_value=PADDING)
        mask, rows = _mask(owner, dtype), pad_sequence(list(self._within_groups()), batch_first=True)
        filled = (
            torch.arange(rows.shape[1], device=rows.device) < torch.tensor(self.counts, device=rows.device)[:, None]
        )
        return PaddedBatch(
            ids, positions, mask, (owner != PADDING).flatten().nonzero()[:, 0],
            mask.gather(2, rows[:, None, :, None].expand(-1, 1, -1, mask.shape[3])), filled.flatten().nonzero()[:, 0],
        )  # fmt: skip


@dataclass
class PlainRows:
    """Texts, each (its length,); row and column (N,): where each packed token stands in them.

    A prompt's tokens stand in every row of their group; of those the last is named.
    """

    texts: list[torch.Tensor]
    row: torch.Tensor
    column: torch.Tensor


@dataclass
class PaddedBatch:
    """ids, positions (B, T); mask (B, 1, T, T) additive; place (N,) of packed token n in a flattened (B * T).

    chosen_mask (B, 1, C, T): the mask's rows at the chosen places alone; chosen_place (M,) of chosen
    place m in a flattened (B * C).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    place: torch.Tensor
    chosen_mask: torch.Tensor
    chosen_place: torch.Tensor


def _mask(owner: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """owner (B, T) -> (B, 1, T, T): 0 where row may look at column, the lowest number elsewhere."""
    length = owner.shape[1]
    same = (owner[:, None, :] == PROMPT) | (owner[:, None, :] == owner[:, :, None])
    allowed = same & torch.ones(length, length, dtype=torch.bool, device=owner.device).tril()
    allowed |= torch.eye(length, dtype=torch.bool, device=owner.device)  # padding sees itself, so no row is all masked
    mask = torch.zeros(allowed.shape, dtype=dtype, device=owner.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


def pack(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]) -> PackedBatch:
    """Pack prompts[g] with completions[g][j]. Every prompt and completion must be non-empty.

    Raises ValueError where there are not as many prompts as groups of completions.
    """
    ids: list[int] = []
    positions: list[int] = []
    owner: list[int] = []
    lengths: list[int] = []
    chosen: list[int] = []
    target: list[int] = []
    for prompt, answers in zip(prompts, completions, strict=True):
        start, n = len(ids), len(prompt)
        ids += prompt
        positions += range(n)
        owner += [PROMPT] * n
        for j, answer in enumerate(answers):
            chosen.append(start + n - 1)  # the prompt's last token predicts every first token
            chosen += range(len(ids), len(ids) + len(answer) - 1)
            target += answer
            # the last token predicts nothing, so it needs no place in the sequence
            ids += answer[:-1]
            positions += range(n, n + len(answer) - 1)
            owner += [j] * (len(answer) - 1)
        lengths.append(len(ids) - start)
    return PackedBatch(
        torch.tensor(ids),
        torch.tensor(positions),
        torch.tensor(owner),
        lengths,
        torch.tensor(chosen),
        torch.tensor(target),
    )
