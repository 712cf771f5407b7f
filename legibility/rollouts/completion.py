"""What every engine returns, and how every engine picks a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")


@dataclass
class Completion:
    """One sampled completion: token ids (its end token included), their log-probs, whether it was cut off.

    values: what a value head said before each token, where the engine was given one. own: which tokens the policy wrote,
    where somebody else wrote the others (tandem); None: all. What stands beside tokens of others means nothing.
    """

    ids: list[int]
    logprobs: list[float]
    truncated: bool
    values: list[float] | None = None
    own: list[bool] | None = None

    @property
    def own_count(self) -> int:
        """How many tokens the policy wrote."""
        return len(self.ids) if self.own is None else sum(self.own)

    def of_own(self, items: Sequence[T]) -> Sequence[T]:
        """Of items, one a token, those of the policy's own tokens."""
        return items if self.own is None else [x for x, mine in zip(items, self.own, strict=True) if mine]


@dataclass(frozen=True)
class Stretch:
    """A piece of a text that several writers write in turns: where it stands, and where it has to stop.

    row: the text, which keys its random numbers; start: tokens drawn of it before; limit: it has at most so many more;
    units: it ends behind so many units.
    """

    row: int
    start: int
    limit: int
    units: int


@dataclass(frozen=True)
class Stretches:
    """A stretch for every prompt, and where units end: `ends` (vocabulary,) is true for tokens that end one."""

    parts: Sequence[Stretch]
    ends: np.ndarray

    def of(self, prompts: Sequence[int]) -> Stretches:
        """Those of some prompts, by their places."""
        return Stretches([self.parts[i] for i in prompts], self.ends)

    @property
    def limit(self) -> int:
        """Tokens of the longest stretch at most."""
        return max(part.limit for part in self.parts)


class Stops:
    """How far every row of a chunk is from the end of its stretch."""

    def __init__(self, stretches: Stretches, device: torch.device | str) -> None:
        self.ends = torch.from_numpy(stretches.ends).to(device)
        self.limits = torch.tensor([part.limit for part in stretches.parts], device=device)
        self.left = torch.tensor([part.units for part in stretches.parts], device=device)

    def reached(self, token: torch.Tensor, rows: torch.Tensor, t: int) -> torch.Tensor:
        """Whether each of the `rows` (k,) that drew `token` (k,) as its t-th token (from 0) stops behind it."""
        self.left[rows] -= self.ends[token].long()
        return (self.left[rows] <= 0) | (t + 1 >= self.limits[rows])


def cut(completion: Completion, stretch: Stretch, ends: np.ndarray, end_ids: set[int]) -> Completion:
    """A completion as it had been drawn by an engine that stops where the stretch ends."""
    behind = np.cumsum(ends[completion.ids]) >= stretch.units
    length = min(int(np.argmax(behind)) + 1 if behind.any() else len(behind), stretch.limit)
    ids, values = completion.ids[:length], completion.values
    ended = ids[-1] in end_ids
    return Completion(ids, completion.logprobs[:length], not ended, None if values is None else values[:length])


LARGE_VOCABULARY = 16384  # beyond this, float32 running sums would lose the rarest tokens


def pick(logits: torch.Tensor, uniform: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Invert the distribution function: logits (rows, vocabulary), uniform (rows,) -> token, log-prob."""
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    exact = torch.float64 if logits.shape[-1] > LARGE_VOCABULARY else torch.float32
    cumulative = logprobs.to(exact).exp().cumsum(-1)
    threshold = uniform.to(logits.device, exact)[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, threshold).clamp_max_(logits.shape[-1] - 1)
    return token[:, 0], logprobs.gather(1, token)[:, 0]
