"""What every engine returns, and how every engine picks a token."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class Completion:
    """One sampled completion: token ids (its end token included), their log-probs, whether it was cut off.

    values: what a value head said before each token, where the engine was given one.
    """

    ids: list[int]
    logprobs: list[float]
    truncated: bool
    values: list[float] | None = None


LARGE_VOCABULARY = 16384  # beyond this, float32 running sums would lose the rarest tokens


def pick(logits: torch.Tensor, uniform: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Invert the distribution function: logits (rows, vocabulary), uniform (rows,) -> token, log-prob."""
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    exact = torch.float64 if logits.shape[-1] > LARGE_VOCABULARY else torch.float32
    cumulative = logprobs.to(exact).exp().cumsum(-1)
    threshold = uniform.to(logits.device, exact)[:, None] * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, threshold).clamp_max_(logits.shape[-1] - 1)
    return token[:, 0], logprobs.gather(1, token)[:, 0]
