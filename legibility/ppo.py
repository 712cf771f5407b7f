"""Proximal policy optimisation of a language model: GAE, clipped objective, KL penalty, one update.

Token-level PPO with a value head (Schulman et al. 2017; the paper gives no hyper-parameters, Sec. 6.1).
Nothing here knows about games: a batch is groups of completions with one reward each, paid at the
last token of the policy's own (a completion may say which of its tokens somebody else wrote). The KL penalty to the reference policy is part of the per-token reward, as in RLHF
practice, so that it is discounted and credited like everything else.

Log-probs and values of the old policy are the sampler's where it kept both, and recomputed otherwise;
the gap between the sampler's log-probs and the trainer's is returned as `logprob_gap`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from legibility.checkpoint_files import trained_tensors
from legibility.config import PPOSettings
from legibility.models.flat import packed_hidden
from legibility.models.prover import Prover
from legibility.models.saving import save_model
from legibility.models.value_head import ValueHead, critic_of
from legibility.packing import PackedBatch, pack
from legibility.policy_gradient import gae, kl_estimates, policy_loss
from legibility.rollouts.completion import Completion
from legibility.sharding import Holder, clip_gradients, held_bytes, is_sharded, parameter_groups, through
from legibility.team import Team


@dataclass(frozen=True)
class Batch:
    """Completions grouped by prompt, with one reward each, (groups * samples,) in the same order."""

    prompts: list[list[int]]
    completions: list[list[Completion]]
    rewards: np.ndarray

    @property
    def acted(self) -> Batch:
        """Without completions of which the policy wrote no token, from which it can learn nothing."""
        flat = [c.own_count > 0 for group in self.completions for c in group]
        if all(flat):
            return self
        groups = [
            (prompt, kept)
            for prompt, group in zip(self.prompts, self.completions, strict=True)
            if (kept := [c for c in group if c.own_count])
        ]
        return Batch([prompt for prompt, _ in groups], [kept for _, kept in groups], self.rewards[np.array(flat)])


@dataclass(frozen=True)
class Layout:
    """Where a batch's completion tokens stand in flat arrays (T,): group by group, completion by completion.

    Only the policy's own tokens have a place: they are its actions, and what others wrote between them is what it met.
    lengths (C,) tokens of each completion; offsets (C + 1,) where each begins; first (G + 1,) the first
    completion of each group; packed_lengths (G,) tokens of each group as it is packed, those of others too.
    """

    lengths: np.ndarray
    offsets: np.ndarray
    first: np.ndarray
    packed_lengths: np.ndarray

    @classmethod
    def of(cls, batch: Batch) -> Layout:
        """The layout of a batch."""
        lengths = np.array([c.own_count for group in batch.completions for c in group])
        packed_lengths = [
            len(prompt) + sum(len(c.ids) - 1 for c in group)
            for prompt, group in zip(batch.prompts, batch.completions, strict=True)
        ]
        return cls(
            lengths,
            np.concatenate([[0], np.cumsum(lengths)]),
            np.concatenate([[0], np.cumsum([len(group) for group in batch.completions])]),
            np.array(packed_lengths),
        )

    @property
    def mask(self) -> np.ndarray:
        """Which places of a rectangle (C, longest completion) hold a token."""
        return np.arange(self.lengths.max())[None] < self.lengths[:, None]

    def groups_of(self, completions: int) -> int:
        """How many groups together hold about that many completions; at least one."""
        return max(1, completions // max(1, int(np.diff(self.first).max())))

    def tokens(self, groups: Sequence[int]) -> np.ndarray:
        """Flat places of the groups' tokens, in packing order."""
        offsets, first = self.offsets, self.first
        return np.concatenate([np.arange(offsets[first[g]], offsets[first[g + 1]]) for g in groups])

    def count(self, groups: Sequence[int]) -> int:
        """How many tokens the groups have."""
        return sum(int(self.offsets[self.first[g + 1]] - self.offsets[self.first[g]]) for g in groups)


@dataclass(frozen=True)
class Scored:
    """What is known of every token before the update: log-probs of policy and reference, and values. Each (T,)."""

    logprobs: np.ndarray
    reference: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Estimates:
    """What the update learns from: advantages (whitened if the settings say so), returns, KL estimates. Each (T,)."""

    advantages: np.ndarray
    advantage_std: float  # before whitening
    returns: np.ndarray
    k1: np.ndarray
    k3: np.ndarray


@dataclass
class UpdateStats:
    """What one process measured in an update, over its own tokens: sums, largest gaps, and gradient norms.

    `tokens` counts a token once an epoch; `grad_norms` has one number a minibatch, the same everywhere.
    """

    sums: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("policy_loss", "value_loss", "clip_fraction", "ratio"), 0.0)
    )
    gaps: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("logprob_gap", "first_ratio_gap"), 0.0))
    tokens: int = 0
    grad_norms: list[float] = field(default_factory=list)

    def add(self, **per_token: torch.Tensor) -> None:
        """Take in one micro-batch: a tensor (tokens,) for each of the sums."""
        for name, x in per_token.items():
            self.sums[name] += x.sum().item()
        self.tokens += len(per_token["ratio"])


def advantages(rewards: np.ndarray, scored: Scored, layout: Layout, settings: PPOSettings) -> Estimates:
    """Token rewards, KL penalty included, to advantages and returns. rewards (C,), paid at the last token."""
    k1, k3 = kl_estimates(scored.logprobs, scored.reference)
    token_rewards = -settings.kl_coefficient * k1
    token_rewards[layout.offsets[1:] - 1] += rewards
    mask = layout.mask
    padded, padded_returns = gae(
        _unflatten(token_rewards, mask), _unflatten(scored.values, mask), mask, settings.gamma, settings.lam
    )
    flat = padded[mask]
    std = flat.std()
    whitened = (flat - flat.mean()) / (std + 1e-6) if settings.whiten else flat
    return Estimates(whitened, float(std), padded_returns[mask], k1, k3)


def diagnostics(scored: Scored, estimates: Estimates, layout: Layout, grad_norms: Sequence[float]) -> dict[str, float]:
    """Metrics of the whole batch and of the minibatches' gradient norms (docs/metrics.md)."""
    returns, starts = estimates.returns, layout.offsets[:-1]
    variance = returns.var()
    return {
        "kl": float(np.add.reduceat(estimates.k1, starts).mean()),
        "kl_k3": float(np.add.reduceat(estimates.k3, starts).mean()),
        "entropy": float(-scored.logprobs.mean()),
        "advantage_std": estimates.advantage_std,
        "explained_variance": float(1 - (returns - scored.values).var() / variance) if variance > 0 else 0.0,
        "return_mean": float(returns.mean()),
        "grad_norm": float(np.mean(grad_norms)),
    }


def pooled(updates: Sequence[UpdateStats]) -> dict[str, float]:
    """Metrics of the update: largest gaps, and means over tokens, of all processes together."""
    tokens = sum(update.tokens for update in updates)
    return {
        **{name: max(update.gaps[name] for update in updates) for name in updates[0].gaps},
        **{name: sum(update.sums[name] for update in updates) / tokens for name in updates[0].sums},
    }


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
        self.critic = critic_of(policy.model) if settings.critic == "separate" else None
        self.take_up(policy.device)

    def take_up(self, device: str) -> None:
        """Begin an optimizer of the weights that stand there now, on a device: whole ones, or this rank's parts."""
        settings = self.settings
        self.reference.device = device
        self.value_head.to(device)
        self.parameters = [p for p in self.policy.model.parameters() if p.requires_grad]
        self.critic_parameters = [p for p in self.critic.parameters() if p.requires_grad] if self.critic else []
        self.optimizer = torch.optim.AdamW(
            [
                *parameter_groups(self.parameters + self.critic_parameters, lr=settings.learning_rate),
                {"params": list(self.value_head.parameters()), "lr": settings.value_learning_rate},
            ],
            betas=(0.9, 0.95),
            weight_decay=0.0,
            fused=True,  # one pass over memory; half the time
        )

    def let_go(self) -> None:
        """Forget optimizer and lists of weights, for which others will stand."""
        del self.parameters, self.critic_parameters, self.optimizer

    def holders(self) -> list[Holder]:
        """The reference and the critic, to be spread over ranks; the policy is the prover's own to hand out."""
        critic = [Holder(self, "critic")] if self.critic is not None else []
        return [*(replace(holder, again=False) for holder in self.reference.holders()), *critic]

    def trained_tensors(self) -> dict[str, torch.Tensor]:
        """What training changes, by name (`legibility.checkpoint_files.trained_tensors`); of spread weights this rank's parts."""
        networks = {"policy": self.policy.model, "value_head": self.value_head, "critic": self.critic}
        trained = nn.ModuleDict({name: network for name, network in networks.items() if network is not None})
        return trained_tensors(trained, self.optimizer)

    def held_bytes(self) -> dict[str, int]:
        """Bytes that this process holds of weights (reference and critic too), of gradients and of AdamW's moments."""
        networks = [self.policy.model, self.reference.model, *([self.critic] if self.critic is not None else [])]
        trained = [*self.parameters, *self.critic_parameters]
        moments = (x for p in trained for name, x in self.optimizer.state.get(p, {}).items() if name != "step")
        return {
            "weights": held_bytes(p for network in networks for p in network.parameters()),
            "gradients": held_bytes(p.grad for p in trained if p.grad is not None),
            "moments": held_bytes(moments),
        }

    @property
    def reuses_sampled(self) -> bool:
        """Whether the sampler's log-probs stand for the old policy's."""
        if self.settings.old_logprobs == "auto":  # in bfloat16 two layouts of one text differ too much for a ratio of 1
            return self.policy.dtype == torch.float32
        return self.settings.old_logprobs == "sampled"

    @property
    def _in_step(self) -> bool:
        """Whether all ranks have to go through the networks equally often, since each holds a part of them."""
        return is_sharded(self.policy.causal)

    @property
    def sampling_head(self) -> ValueHead | None:
        """The value head that the sampler of the next batch is to run along, or None."""
        return self.value_head if self.reuses_sampled and self.critic is None else None

    @property
    def trained(self) -> list[nn.Parameter]:
        """Everything the optimizer changes."""
        return [*self.parameters, *self.critic_parameters, *self.value_head.parameters()]

    def step(self, batch: Batch, rng: np.random.Generator, temperature: float = 1.0) -> dict[str, float]:
        """One PPO step: score the batch, compute advantages, update over several epochs of minibatches.

        Completions without a token of the policy's own are left out. Returns scalar metrics (docs/metrics.md).
        Raises ValueError where none has one.
        """
        batch = batch.acted
        if not batch.completions:
            raise ValueError("the policy wrote no token of this batch")
        parts = self.team.run(PPO._step, self, batch, rng, temperature)
        metrics = parts[0][0]  # of the whole batch, so the same in every process
        return {**metrics, **pooled([update for _, update in parts])}

    def _step(self, batch: Batch, rng: np.random.Generator, temperature: float) -> tuple[dict[str, float], UpdateStats]:
        """The step in one process of the team, which scores and differentiates its share."""
        layout = Layout.of(batch)
        scored = self._score(batch, layout, temperature)
        estimates = advantages(batch.rewards, scored, layout, self.settings)
        update = self._update(batch, layout, scored, estimates, rng, temperature)
        return diagnostics(scored, estimates, layout, update.grad_norms), update

    @torch.no_grad()
    def _score(self, batch: Batch, layout: Layout, temperature: float) -> Scored:
        """Log-probs of the old policy and the reference, and values; the sampler's own where it kept them."""
        self._training(False)
        flat = [c for group in batch.completions for c in group]
        old, reference, values = (np.zeros(layout.offsets[-1]) for _ in range(3))
        has_values = all(c.values is not None for c in flat) and self.reuses_sampled
        has_logprobs = self.reuses_sampled and (has_values or self.critic is not None)
        if has_values:
            values[:] = np.concatenate([c.of_own(c.values or []) for c in flat])
        if has_logprobs:
            old[:] = np.concatenate([c.of_own(c.logprobs) for c in flat])
        micro_batch = layout.groups_of(self.settings.micro_batch_size)
        for bucket in length_buckets(layout.packed_lengths, micro_batch):
            mine = self.team.share(bucket)
            read = mine or (bucket[:1] if self._in_step else [])
            if not read:
                continue
            packed, found = self._pack(batch, read), []
            if not has_logprobs:
                hidden, logprobs = self.policy.hidden_and_logprobs(packed, temperature)
                found.append((old, logprobs))
            if not has_values:
                found.append((values, self._values(packed, None if self.critic else hidden)))
            found.append((reference, self.reference.hidden_and_logprobs(packed, temperature)[1]))
            for whole, own in found if mine else ():
                whole[layout.tokens(mine)] = own.cpu().numpy()
        for whole, wanted in ((old, not has_logprobs), (values, not has_values), (reference, True)):
            if wanted and self.team.size > 1:
                whole[:] = np.sum(self.team.gather(whole), 0)  # everyone filled in other places
        return Scored(old, reference, values)

    def _update(
        self,
        batch: Batch,
        layout: Layout,
        scored: Scored,
        estimates: Estimates,
        rng: np.random.Generator,
        temperature: float,
    ) -> UpdateStats:
        """Several epochs of minibatches, each one optimizer step on whole groups."""
        settings, device = self.settings, self.policy.device
        if self.policy.recomputes:
            self._training(True)  # transformers recomputes activations in training mode only
        old, advantage, target = (
            torch.tensor(x, dtype=torch.float32, device=device)
            for x in (scored.logprobs, estimates.advantages, estimates.returns)
        )
        sampled = np.array([x for group in batch.completions for c in group for x in c.of_own(c.logprobs)])
        stats = UpdateStats()
        minibatch, micro_batch = layout.groups_of(settings.minibatch_size), layout.groups_of(settings.micro_batch_size)
        for epoch in range(settings.epochs):
            for turn, chosen in enumerate(length_buckets(layout.packed_lengths, minibatch, rng)):
                tokens = layout.count(chosen)
                self.optimizer.zero_grad(set_to_none=True)
                for k, (part, weight) in enumerate(self._micro_batches(chosen, micro_batch)):
                    index = torch.from_numpy(layout.tokens(part)).to(device)
                    logprobs, values = self._forward(self._pack(batch, part), temperature)
                    losses, ratio = policy_loss(logprobs, old[index], advantage[index], settings.clip)
                    value_losses = (values - target[index]).square()
                    loss = (losses.sum() + settings.value_coefficient * value_losses.sum()) / tokens
                    (loss * weight).backward()
                    if not weight:
                        continue
                    with torch.no_grad():
                        gap = (ratio - 1).abs()
                        if epoch == turn == k == 0:  # nothing is learned yet, so any gap is numerical
                            at_sampling = sampled[index.cpu().numpy()]
                            stats.gaps["first_ratio_gap"] = gap.max().item()
                            stats.gaps["logprob_gap"] = float(np.abs(logprobs.cpu().numpy() - at_sampling).max())
                        stats.add(
                            policy_loss=losses,
                            value_loss=value_losses,
                            clip_fraction=(gap > settings.clip).float(),
                            ratio=ratio,
                        )
                stats.grad_norms.append(self._optimizer_step())
        return stats

    def _optimizer_step(self) -> float:
        """Sum the team's gradients, clip them and take one step. Returns the policy's norm before clipping.

        Policy, value head and a critic of its own are clipped each by itself: a value head that is far off yet would
        otherwise shrink the policy's step.
        """
        self.team.add_gradients(self.trained)
        limit = self.settings.max_grad_norm
        norm = clip_gradients(self.parameters, limit)
        for others in (list(self.value_head.parameters()), self.critic_parameters):
            clip_gradients(others, limit)
        self.optimizer.step()
        return norm

    def _micro_batches(self, minibatch: list[int], size: int) -> list[tuple[list[int], float]]:
        """This process's groups of a minibatch, `size` at a time, each part with its weight 1.

        Where all ranks have to go through the networks equally often, those with less to do read a group of weight 0.
        """
        mine = self.team.share(minibatch)
        parts = [(mine[i : i + size], 1.0) for i in range(0, len(mine), size)]
        turns = math.ceil(math.ceil(len(minibatch) / self.team.size) / size) if self._in_step else len(parts)
        return parts + [(minibatch[:1], 0.0)] * (turns - len(parts))

    def _training(self, mode: bool) -> None:
        """Put the policy, and a critic of its own, into training or evaluation mode."""
        for network in (self.policy.model, self.critic):
            if network is not None:
                network.train(mode)

    def _pack(self, batch: Batch, groups: Sequence[int]) -> PackedBatch:
        """The groups as one sequence, of which the policy's own tokens are predicted."""
        chosen = [batch.completions[g] for g in groups]
        packed = pack([batch.prompts[g] for g in groups], [[c.ids for c in group] for group in chosen])
        if any(c.own is not None for group in chosen for c in group):
            own = torch.tensor([mine for group in chosen for c in group for mine in (c.own or [True] * len(c.ids))])
            packed = replace(packed, chosen=packed.chosen[own], target=packed.target[own])
        return packed.to(self.policy.device)

    def _forward(self, packed: PackedBatch, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, logprobs = self.policy.hidden_and_logprobs(packed, temperature)
        return logprobs, self._values(packed, hidden)

    def _values(self, packed: PackedBatch, hidden: torch.Tensor | None) -> torch.Tensor:
        """Values (M,): of the policy's `hidden` states, or of the critic's own."""
        if self.critic is not None:
            critic = self.critic.get_base_model() if self.policy.is_lora else self.critic
            hidden = through(critic, packed_hidden, critic, packed, "prover", self.policy.route)
        return self.value_head(hidden)

    def save(self, folder: Path) -> None:
        """Write policy and value head, and a separate critic beside them."""
        self.policy.save(folder, self.value_head)
        if self.critic is not None:
            save_model(self.critic, folder / "critic")


def length_buckets(lengths: np.ndarray, size: int, rng: np.random.Generator | None = None) -> list[list[int]]:
    """Split indices into batches of `size` with similar lengths, so that little is padding.

    With `rng` lengths are blurred by a quarter of their mean before sorting, and batches come in random
    order, so that groups meet different company every epoch.
    """
    blurred = lengths if rng is None else lengths + rng.uniform(0, 0.25 * lengths.mean(), len(lengths))
    order = np.argsort(blurred, kind="stable").tolist()
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]


def _unflatten(flat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Flat values (T,) at the places of a mask (completions, time), 0 elsewhere."""
    out = np.zeros(mask.shape)
    out[mask] = flat
    return out
