"""Log-probabilities of given tokens straight from hidden states, without keeping the logits around.

With a large vocabulary the (tokens, vocabulary) matrices of log_softmax and its backward pass are most
of the memory of a PPO update, and with a small model most of its time. Here the logits are made once,
turned into probabilities in place, and into their own gradient in place; where they would be too big
to keep they are made again, piece by piece, in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch

# logits that are kept between the passes at most, which saves their product a second time; of more, and where no
# gradient is asked for, a piece at a time is made
KEEP_ELEMENTS = {"cpu": 64_000_000, "cuda": 256_000_000}
PIECE_ELEMENTS = {"cpu": 8_000_000, "cuda": 256_000_000}


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, scale: float, learns: bool
    ) -> torch.Tensor:
        """hidden (N, d), weight (V, d), target (N,) -> log softmax(scale * hidden weight^T)[target], (N,) float32.

        learns: whether a backward pass may follow, which in here cannot be seen.
        """
        kind = hidden.device.type
        keeps = (
            learns and any(ctx.needs_input_grad) and len(hidden) * len(weight) <= KEEP_ELEMENTS.get(kind, 64_000_000)
        )
        rows = len(hidden) if keeps else max(1, PIECE_ELEMENTS.get(kind, 64_000_000) // len(weight))
        ctx.scale, ctx.rows, ctx.kept = scale, max(1, rows), None
        out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            logprobs = _logprobs(hidden[part], weight, scale)
            out[part] = logprobs.gather(1, target[part, None])[:, 0]
        if keeps and len(hidden):
            ctx.kept = logprobs.exp_()
        ctx.save_for_backward(hidden, weight, target)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        hidden, weight, target = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            p = ctx.kept if ctx.kept is not None else _logprobs(hidden[part], weight, ctx.scale).exp_()
            g = (grad[part] * ctx.scale)[:, None]
            d = p.mul_(-g).scatter_add_(1, target[part, None], g).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = d @ weight
            if grad_weight is not None:
                grad_weight.addmm_(d.t(), hidden[part])
        ctx.kept = None  # used up: the gradient was made in its place
        return grad_hidden, grad_weight, None, None, None


def _logprobs(hidden: torch.Tensor, weight: torch.Tensor, scale: float) -> torch.Tensor:
    """Log-probabilities (n, V)."""
    logits = (hidden @ weight.t()).float()
    return torch.log_softmax(logits if scale == 1.0 else logits.mul_(scale), 1)


def token_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, scale: float = 1.0
) -> torch.Tensor:
    """Log-probability of target (N,) under softmax(scale * hidden (N, d) @ weight (V, d)^T): (N,), float32."""
    return _TokenLogprobs.apply(hidden, weight, target, scale, torch.is_grad_enabled())
