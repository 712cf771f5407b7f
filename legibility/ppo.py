"""Proximal policy optimisation of a language model: GAE, clipped objective, KL penalty, one update.

Token-level PPO with a value head (Schulman et al. 2017; the paper gives no hyper-parameters, Sec. 6.1).
Nothing here knows about games: a batch is groups of completions with one reward each, paid at the
last token. The KL penalty to the reference policy is part of the per-token reward, as in RLHF
practice, so that it is discounted and credited like everything else.

Log-probs and values of the old policy are the sampler's where it kept both, and recomputed otherwise;
the gap between the sampler's log-probs and the trainer's is returned as `logprob_gap`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from legibility.config import PPOSettings
from legibility.models.flat import packed_hidden
from legibility.models.prover import Prover
from legibility.models.value_head import ValueHead
from legibility.packing import PackedBatch, pack
from legibility.rollouts.completion import Completion
from legibility.team import Team


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
    running = np.zeros(len(rewards))
    following = np.zeros(len(rewards))  # value of the next token, 0 past the end
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = np.where(keep[:, t], delta + gamma * lam * running, 0.0)
        following = np.where(keep[:, t], values[:, t], 0.0)
        advantages[:, t] = running
    return advantages, np.where(keep, advantages + values, 0.0)


def policy_loss(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, advantages: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clipped surrogate (Schulman et al. 2017, eq. 7), per token. Returns (losses, ratios), each (N,)."""
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


@dataclass
class Batch:
    """Completions grouped by prompt, with one reward each (same nesting)."""

    prompts: list[list[int]]
    completions: list[list[Completion]]
    rewards: np.ndarray  # (groups * samples,)


@dataclass
class _Share:
    """What one process has of a step: metrics known to all; largest gaps and sums over its `tokens` of it alone."""

    metrics: dict[str, float]
    gaps: dict[str, float]
    totals: dict[str, float]
    tokens: int


class PPO:
    """Policy, reference, value head and optimizer of one prover phase.

    In a `team` that is together, of which this object is a member, every process scores and
    differentiates its share of each minibatch; gradients are summed, and all take the same step.
    """

    def __init__(self, policy: Prover, settings: PPOSettings, team: Team | None = None) -> None:
        self.policy, self.settings, self.team = policy, settings, team or Team()
        self.reference = policy.frozen_copy()
        self.value_head = ValueHead(policy.hidden_size, detach=settings.critic == "detached").to(policy.device)
        # a critic of its own starts as the policy does and learns at the policy's rate
        self.critic = copy.deepcopy(policy.model) if settings.critic == "separate" else None
        self.parameters = [p for p in policy.model.parameters() if p.requires_grad]
        self.critic_parameters = [p for p in self.critic.parameters() if p.requires_grad] if self.critic else []
        self.optimizer = torch.optim.AdamW(
            [
                {"params": self.parameters + self.critic_parameters, "lr": settings.learning_rate},
                {"params": list(self.value_head.parameters()), "lr": settings.value_learning_rate},
            ],
            betas=(0.9, 0.95),
            weight_decay=0.0,
            fused=True,  # one pass over memory; half the time
        )

    @property
    def reuses_sampled(self) -> bool:
        """Whether the sampler's log-probs stand for the old policy's."""
        if self.settings.old_logprobs == "auto":  # in bfloat16 two layouts of one text differ too much for a ratio of 1
            return self.policy.causal.get_input_embeddings().weight.dtype == torch.float32
        return self.settings.old_logprobs == "sampled"

    @property
    def sampling_head(self) -> ValueHead | None:
        """The value head that the sampler of the next batch is to run along, or None."""
        return self.value_head if self.reuses_sampled and self.critic is None else None

    @property
    def trained(self) -> list[nn.Parameter]:
        """Everything the optimizer changes."""
        return [*self.parameters, *self.critic_parameters, *self.value_head.parameters()]

    def step(self, batch: Batch, rng: np.random.Generator, temperature: float = 1.0) -> dict[str, float]:
        """One PPO step: score the batch, compute advantages, several epochs of minibatches.

        Every completion must have at least one token. Returns scalar metrics (docs/metrics.md).
        """
        shares = self.team.run(PPO._step, self, batch, rng, temperature)
        tokens = sum(share.tokens for share in shares)
        return {
            **shares[0].metrics,
            **{name: max(share.gaps[name] for share in shares) for name in shares[0].gaps},
            **{name: sum(share.totals[name] for share in shares) / tokens for name in shares[0].totals},
        }

    def _step(self, batch: Batch, rng: np.random.Generator, temperature: float) -> _Share:
        """This process's part of the step."""
        settings, device = self.settings, self.policy.device
        lengths = np.array([len(c.ids) for group in batch.completions for c in group])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        groups = np.array([len(g) for g in batch.completions])
        first = np.concatenate([[0], np.cumsum(groups)])  # first completion of each group
        sampled = np.array([x for group in batch.completions for c in group for x in c.logprobs])

        packed_lengths = np.array(
            [len(p) + sum(len(c.ids) - 1 for c in g) for p, g in zip(batch.prompts, batch.completions, strict=True)]
        )

        networks = [self.policy.model] if self.critic is None else [self.policy.model, self.critic]
        for network in networks:
            network.eval()
        old, reference, values = self._score(batch, offsets, first, packed_lengths, temperature)
        k1, k3 = kl_estimates(old, reference)
        token_rewards = -settings.kl_coefficient * k1
        token_rewards[offsets[1:] - 1] += batch.rewards
        mask = np.arange(lengths.max())[None] < lengths[:, None]  # (completions, time)
        advantages, returns = gae(
            _unflatten(token_rewards, mask), _unflatten(values, mask), mask, settings.gamma, settings.lam
        )
        advantages, returns = advantages[mask], returns[mask]
        raw_advantages = advantages
        if settings.whiten:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)

        if self.policy.recomputes:
            for network in networks:
                network.train()  # transformers recomputes activations in training mode only
        totals = dict.fromkeys(("policy_loss", "value_loss", "clip_fraction", "ratio"), 0.0)
        gaps = {"logprob_gap": 0.0, "first_ratio_gap": 0.0}
        seen, norms = 0, []
        minibatch = max(1, settings.minibatch_size // max(1, int(groups.max())))
        micro = max(1, settings.micro_batch_size // max(1, int(groups.max())))
        old_t, adv_t, ret_t = (torch.tensor(x, dtype=torch.float32, device=device) for x in (old, advantages, returns))
        for epoch in range(settings.epochs):
            for start, chosen in enumerate(length_buckets(packed_lengths, minibatch, rng)):
                count = sum(int(offsets[first[g + 1]] - offsets[first[g]]) for g in chosen)
                mine = self.team.share(chosen)
                self.optimizer.zero_grad(set_to_none=True)
                for begin in range(0, len(mine), micro):
                    part = mine[begin : begin + micro]
                    index = torch.from_numpy(_token_index(part, offsets, first)).to(device)
                    new, value = self._forward(self._pack(batch, part), temperature)
                    losses, ratio = policy_loss(new, old_t[index], adv_t[index], settings.clip)
                    value_losses = (value - ret_t[index]).square()
                    loss = (losses.sum() + settings.value_coefficient * value_losses.sum()) / count
                    loss.backward()
                    with torch.no_grad():
                        gap = (ratio - 1).abs()
                        if epoch == 0 and start == 0 and begin == 0:
                            gaps["first_ratio_gap"] = gap.max().item()
                            gaps["logprob_gap"] = float(np.abs(new.cpu().numpy() - sampled[index.cpu().numpy()]).max())
                        for name, x in (
                            ("policy_loss", losses),
                            ("value_loss", value_losses),
                            ("clip_fraction", (gap > settings.clip).float()),
                            ("ratio", ratio),
                        ):
                            totals[name] += x.sum().item()
                        seen += len(index)
                self.team.add_gradients(self.trained)
                norm = nn.utils.clip_grad_norm_(
                    [*self.parameters, *self.value_head.parameters()], settings.max_grad_norm
                )
                if self.critic_parameters:
                    nn.utils.clip_grad_norm_(self.critic_parameters, settings.max_grad_norm)
                norms.append(float(norm))
                self.optimizer.step()
        per_completion = np.add.reduceat(k1, offsets[:-1])
        variance = returns.var()
        metrics = {
            "kl": float(per_completion.mean()),
            "kl_k3": float(np.add.reduceat(k3, offsets[:-1]).mean()),
            "entropy": float(-old.mean()),
            "advantage_std": float(raw_advantages.std()),
            "explained_variance": float(1 - (returns - values).var() / variance) if variance > 0 else 0.0,
            "return_mean": float(returns.mean()),
            "grad_norm": float(np.mean(norms)),
        }
        return _Share(metrics, gaps, totals, seen)

    @torch.no_grad()
    def _score(
        self, batch: Batch, offsets: np.ndarray, first: np.ndarray, packed_lengths: np.ndarray, temperature: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Old log-probs, reference log-probs and values of every token, flat, in batch order."""
        flat = [c for group in batch.completions for c in group]
        old, reference, values = (np.zeros(offsets[-1]) for _ in range(3))
        has_values = all(c.values is not None for c in flat) and self.reuses_sampled
        has_logprobs = self.reuses_sampled and (has_values or self.critic is not None)
        if has_values:
            values[:] = np.concatenate([c.values for c in flat])
        if has_logprobs:
            old[:] = np.concatenate([c.logprobs for c in flat])
        micro = max(1, self.settings.micro_batch_size // max(1, int(np.diff(first).max())))
        for part in map(self.team.share, length_buckets(packed_lengths, micro)):
            if not part:
                continue
            packed = self._pack(batch, part)
            place = _token_index(part, offsets, first)
            if not has_logprobs:
                hidden, logprobs = self.policy.hidden_and_logprobs(packed, temperature)
                old[place] = logprobs.cpu().numpy()
            if not has_values:
                values[place] = self._values(packed, None if self.critic else hidden).cpu().numpy()
            reference[place] = self.reference.hidden_and_logprobs(packed, temperature)[1].cpu().numpy()
        for whole, wanted in ((old, not has_logprobs), (values, not has_values), (reference, True)):
            if wanted and self.team.size > 1:
                whole[:] = np.sum(self.team.gather(whole), 0)  # everyone filled in other places
        return old, reference, values

    def _pack(self, batch: Batch, groups: Sequence[int]) -> PackedBatch:
        completions = [[c.ids for c in batch.completions[g]] for g in groups]
        return pack([batch.prompts[g] for g in groups], completions).to(self.policy.device)

    def _forward(self, packed: PackedBatch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, logprobs = self.policy.hidden_and_logprobs(packed, temperature)
        return logprobs, self._values(packed, hidden)

    def _values(self, packed: PackedBatch, hidden: torch.Tensor | None) -> torch.Tensor:
        """Values (M,): of the policy's `hidden` states, or of the critic's own."""
        if self.critic is not None:
            hidden = packed_hidden(self.critic.get_base_model() if self.policy.is_lora else self.critic, packed)
        return self.value_head(hidden)

    def save(self, folder: Path) -> None:
        """Write policy and value head, and a separate critic beside them."""
        self.policy.save(folder, self.value_head)
        if self.critic is not None:
            self.critic.save_pretrained(folder / "critic")


def length_buckets(lengths: np.ndarray, size: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Split indices into batches of `size` with similar lengths, so that little is padding.

    With `rng` lengths are blurred by a quarter of their mean before sorting, and batches come in random
    order, so that groups meet different company every epoch.
    """
    blurred = lengths if rng is None else lengths + rng.uniform(0, 0.25 * lengths.mean(), len(lengths))
    order = np.argsort(blurred, kind="stable")
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]


def _token_index(groups: Sequence[int], offsets: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Flat token positions of the given groups, in packing order."""
    return np.concatenate([np.arange(offsets[first[g]], offsets[first[g + 1]]) for g in groups])


def _unflatten(flat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    out = np.zeros(mask.shape)
    out[mask] = flat
    return out
