"""From a causal model's hidden states to next-token logits and log-probs, with the model's own scaling and caps."""

from __future__ import annotations

from typing import Any

import torch

from legibility.models.logprobs import token_logprobs


def causal_logits(causal: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Next-token logits (M, vocabulary) in float32 of hidden states (M, hidden)."""
    logits = causal.get_output_embeddings()(hidden).float()
    if (scale := _logit_scale(causal.config)) != 1.0:
        logits = logits * scale
    cap = _logit_cap(causal.config)
    return logits if not cap else torch.tanh(logits / cap) * cap


def causal_logprobs(causal: Any, hidden: torch.Tensor, target: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probs (M,) of the tokens target (M,) behind hidden states (M, hidden), at a temperature, in nats.

    Without keeping the logits, where the output layer is a plain product (`legibility.models.logprobs`).
    """
    head, config = causal.get_output_embeddings(), causal.config
    if type(head) is torch.nn.Linear and head.bias is None and not _logit_cap(config):
        return token_logprobs(hidden, head.weight, target, _logit_scale(config) / temperature)
    logprobs = torch.log_softmax(causal_logits(causal, hidden) / temperature, -1)
    return logprobs.gather(1, target[:, None])[:, 0]


def _logit_scale(config: Any) -> float:
    """The factor some models (Cohere, Granite, Falcon-H1) put on their logits."""
    factor = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return factor * (getattr(config, "lm_head_multiplier", None) or 1.0)


def _logit_cap(config: Any) -> float | None:
    """The size beyond which some models (Gemma 2, RecurrentGemma) let no logit grow."""
    return getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
