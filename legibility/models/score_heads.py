"""How what a verifier has read becomes one score: from its last token, its own likelihood, or every token.

The paper (Kirchner et al. 2024, Sec. 3.2) reads a scalar off the last token. Two more ways read the solution
token by token, which a small model needs in order to check rather than to judge by style (docs/log.md):

- `likelihood`:  V = w.h_last + a * mean_t log p(z_t | x, z_<t) + b * softmin_t log p(z_t | x, z_<t) + c.
  w, a, b and c are learned, with gradients through all of it; c begins where the first batch's scores have mean 0,
  since the loss pulls scores there and log-probs are all negative. Under a Bradley-Terry loss this is an implicit
  reward in the sense of DPO (Rafailov et al. 2023) without a reference policy.
- `token`:  V = mean_t or softmin_t of w.h_t, the outcome predicted at every solution token (Cobbe et al.
  2021, Sec. 4.2, who pool by the mean; their target is the outcome at each token, ours the pooled score's loss).

The soft minimum is softmin(s) = -log sum_t exp(-s_t), below the minimum by at most log T: one bad token is
enough to pull it down, and good ones never lift it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import nn

from legibility.models.saving import save_tensors
from legibility.stored import Stored, read_stored, write_stored

HEAD_SETTINGS, HEAD_WEIGHTS = "score_head.json", "score_head.safetensors"
Kind = Literal["likelihood", "token"]
Pooling = Literal["mean", "soft_min"]
EMPTY = -10.0  # nats: what a text without a token has for mean and minimum; it is no solution
MEAN_WEIGHT, SOFT_MIN_WEIGHT = 3.0, 0.5  # what `likelihood` starts from
START = 0.1  # the last token's say at the start, so that what was pre-trained speaks first


@dataclass(frozen=True)
class Reading:
    """What a verifier read of n solutions with S tokens together.

    last (n, d): hidden state of each text's last token; counts: tokens of each solution; tokens (S, d): hidden
    states at the solutions' tokens; logprobs (S,): log p of each of them, nats. Where a head does not ask for
    tokens or log-probs they are None.
    """

    last: torch.Tensor
    counts: Sequence[int]
    tokens: torch.Tensor | None = None
    logprobs: torch.Tensor | None = None


@dataclass(frozen=True)
class TokenShares:
    """A score taken apart: `rest` (n,) from the last token, and what each solution token adds, (S,)."""

    rest: torch.Tensor
    shares: torch.Tensor


def mean(values: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """Mean of each solution's values (S,): (n,); 0 for a solution without tokens."""
    return _sums(values, counts) / _tensor(counts, values).clamp_min(1)


def soft_min(values: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """-log sum exp(-v) over each solution's values (S,): (n,); 0 for a solution without tokens."""
    if not len(counts):
        return values.new_zeros(0)
    owner = _owner(counts, values)
    least = values.new_full((len(counts),), torch.inf).scatter_reduce(0, owner, values.detach(), "amin")
    least = torch.where(least.isinf(), 0.0, least)  # a solution without tokens
    total = values.new_zeros(len(counts)).index_add(0, owner, (least[owner] - values).exp())
    return torch.where(total > 0, least - total.clamp_min(1e-30).log(), 0.0)


class LikelihoodHead(nn.Module):
    """The score of `likelihood`: a head on the last token, and weights on mean and soft minimum of the log-probs."""

    kind: Kind = "likelihood"
    reads_tokens, reads_logprobs = False, True

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.last = nn.Linear(hidden, 1, bias=False)
        self.weights = nn.Parameter(torch.tensor([MEAN_WEIGHT, SOFT_MIN_WEIGHT]))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, reading: Reading) -> torch.Tensor:
        """Scores (n,), float32."""
        assert reading.logprobs is not None
        pooled = torch.stack([mean(reading.logprobs, reading.counts), soft_min(reading.logprobs, reading.counts)], 1)
        empty = torch.tensor(reading.counts, device=pooled.device) == 0
        pooled = torch.where(empty[:, None], EMPTY, pooled)
        return self._of_last(reading) + pooled @ self.weights.float()

    @torch.no_grad()
    def centre(self, scores: torch.Tensor) -> None:
        """Move all scores by as much as gives these (n,) the mean 0."""
        self.bias.sub_(scores.mean().to(self.bias.dtype))

    def explain(self, reading: Reading) -> TokenShares:
        """Each token's part: its log-prob in the mean, and its weight in the soft minimum times that minimum."""
        assert reading.logprobs is not None
        owner, logprobs = _owner(reading.counts, reading.logprobs), reading.logprobs
        least = soft_min(logprobs, reading.counts)
        in_mean = logprobs / _tensor(reading.counts, logprobs)[owner]
        in_min = (least[owner] - logprobs).exp() * least[owner]  # exp(-s_t) / sum exp(-s), which add up to 1
        a, b = self.weights.float()
        empty = torch.tensor(reading.counts, device=logprobs.device) == 0
        rest = self._of_last(reading) + torch.where(empty, EMPTY * (a + b), 0.0)
        return TokenShares(rest, a * in_mean + b * in_min)

    def _of_last(self, reading: Reading) -> torch.Tensor:
        return self.last(reading.last.to(self.last.weight.dtype)).float().squeeze(-1) + self.bias.float()


class TokenHead(nn.Module):
    """The score of `token`: a head on every solution token, pooled."""

    kind: Kind = "token"
    reads_tokens, reads_logprobs = True, False

    def __init__(self, hidden: int, pooling: Pooling) -> None:
        super().__init__()
        self.each = nn.Linear(hidden, 1, bias=False)
        self.pooling = pooling

    def forward(self, reading: Reading) -> torch.Tensor:
        """Scores (n,), float32."""
        pool = mean if self.pooling == "mean" else soft_min
        return pool(self._values(reading), reading.counts)

    def explain(self, reading: Reading) -> TokenShares:
        """Each token's part of the pooled score."""
        values, counts = self._values(reading), reading.counts
        owner = _owner(counts, values)
        if self.pooling == "mean":
            shares = values / _tensor(counts, values)[owner]
        else:
            least = soft_min(values, counts)
            shares = (least[owner] - values).exp() * least[owner]
        return TokenShares(values.new_zeros(len(counts)), shares)

    def _values(self, reading: Reading) -> torch.Tensor:
        assert reading.tokens is not None
        return self.each(reading.tokens.to(self.each.weight.dtype)).float().squeeze(-1)


def new_head(score: str, hidden: int, pooling: Pooling, seed: int) -> LikelihoodHead | TokenHead:
    """A head with initial weights drawn from `seed`; `score` is "likelihood" or "token"."""
    head: LikelihoodHead | TokenHead = LikelihoodHead(hidden) if score == "likelihood" else TokenHead(hidden, pooling)
    linear, scale = (head.last, START) if isinstance(head, LikelihoodHead) else (head.each, 1.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        linear.weight.copy_(scale * hidden**-0.5 * torch.randn(linear.weight.shape, generator=generator))
    return head


class HeadSettings(Stored):
    """score_head.json: what kind of head stands beside a verifier's causal language model."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    score: Kind = Field(description="What a score is made of: `likelihood` or `token`.")
    pooling: Pooling = Field("soft_min", description="How `token` pools its values over a solution.")
    hidden: int = Field(description="Width of the model's hidden states.")


def save_head(head: LikelihoodHead | TokenHead, folder: Path) -> None:
    """Write the head's weights and settings into a model's folder."""
    linear = head.last if isinstance(head, LikelihoodHead) else head.each
    pooling: Pooling = head.pooling if isinstance(head, TokenHead) else "soft_min"
    save_tensors(head.state_dict(), folder / HEAD_WEIGHTS)
    write_stored(folder / HEAD_SETTINGS, HeadSettings(score=head.kind, pooling=pooling, hidden=linear.in_features))


def load_head(folder: Path) -> LikelihoodHead | TokenHead:
    """The head that `save_head` wrote. Raises UserError where its settings cannot be read."""
    settings = read_stored(folder / HEAD_SETTINGS, HeadSettings, fix="restore the verifier's folder from a copy")
    head = new_head(settings.score, settings.hidden, settings.pooling, seed=0)
    head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    return head


def _owner(counts: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """The solution each token belongs to, (S,)."""
    return torch.arange(len(counts), device=like.device).repeat_interleave(torch.tensor(counts, device=like.device))


def _tensor(counts: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(counts, device=like.device, dtype=like.dtype)


def _sums(values: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    return values.new_zeros(len(counts)).index_add(0, _owner(counts, values), values)
