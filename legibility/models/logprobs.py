"""Log-probabilities of given tokens straight from hidden states, without keeping the logits around.

With a large vocabulary the (tokens, vocabulary) matrices of log_softmax and its backward pass are most
of the memory of a PPO update, and with a small model most of its time. Here the logits are made once,
turned into probabilities in place, and into their own gradient in place; where they would be too big
to keep they are made again, piece by piece, in the backward pass.
"""

from __future__ import annotations

import torch

# logits kept between the passes; more are recomputed in pieces of this size
KEEP_ELEMENTS = {"cpu": 8_000_000, "cuda": 256_000_000}


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, target, scale):
        """hidden (N, d), weight (V, d), target (N,) -> log softmax(scale * hidden weight^T)[target], (N,) float32."""
        rows = max(1, KEEP_ELEMENTS.get(hidden.device.type, 64_000_000) // len(weight))
        ctx.scale, ctx.rows, ctx.kept = scale, rows, None
        out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            probabilities, out[part] = _forward(hidden[part], weight, target[part], scale)
        if len(hidden) <= rows:
            ctx.kept = probabilities
        ctx.save_for_backward(hidden, weight, target)
        return out

    @staticmethod
    def backward(ctx, grad):
        hidden, weight, target = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            p = ctx.kept if ctx.kept is not None else _forward(hidden[part], weight, target[part], ctx.scale)[0]
            g = (grad[part] * ctx.scale)[:, None]
            d = p.mul_(-g).scatter_add_(1, target[part, None], g).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = d @ weight
            if grad_weight is not None:
                grad_weight.addmm_(d.t(), hidden[part])
        ctx.kept = None  # used up: the gradient was made in its place
        return grad_hidden, grad_weight, None, None


def _forward(hidden, weight, target, scale):
    """Probabilities (n, V) and the target's log-probability (n,)."""
    logits = (hidden @ weight.t()).float().mul_(scale)
    logits.sub_(logits.amax(1, keepdim=True))
    top = logits.gather(1, target[:, None])[:, 0]
    probabilities = logits.exp_()
    total = probabilities.sum(1)
    return probabilities.div_(total[:, None]), top - total.log()


def token_logprobs(hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Log-probability of target (N,) under softmax(scale * hidden (N, d) @ weight (V, d)^T): (N,), float32."""
    return _TokenLogprobs.apply(hidden, weight, target, scale)
