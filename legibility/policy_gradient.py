"""The formulas of PPO as functions of arrays: advantages, clipped loss, and estimates of the KL divergence."""

from __future__ import annotations

import numpy as np
import torch


def gae(
    rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float = 1.0, lam: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16). All arrays (batch, time).

    mask is 1 on completion tokens and 0 on padding after them; the value after the last token is 0
    (the episode ends there). Returns (advantages, returns), zero where mask is 0;
    returns = advantages + values.
    """
    rewards, values = np.asarray(rewards, dtype=np.float64), np.asarray(values, dtype=np.float64)
    keep = np.asarray(mask) > 0
    advantages = np.zeros_like(rewards)
    last_gae_lam = np.zeros(len(rewards))
    next_value = np.zeros(len(rewards))  # 0 past the end
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        last_gae_lam = np.where(keep[:, t], delta + gamma * lam * last_gae_lam, 0.0)
        next_value = np.where(keep[:, t], values[:, t], 0.0)
        advantages[:, t] = last_gae_lam
    return advantages, np.where(keep, advantages + values, 0.0)


def policy_loss(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clipped surrogate (Schulman et al. 2017, eq. 7), per token; all arguments (N,). Returns (losses, ratios), (N,) each."""
    ratio = (logprobs - old_logprobs).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.minimum(ratio * advantages, clipped * advantages), ratio


def kl_estimates(logprobs: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per-token estimates of KL(policy || reference) from samples of the policy.

    Returns (k1, k3): the unbiased log-ratio, and the non-negative (r - 1) - log r with r = reference
    probability / policy probability (Schulman 2020).
    """
    log_ratio = np.asarray(logprobs) - np.asarray(reference)
    return log_ratio, np.expm1(-log_ratio) + log_ratio
