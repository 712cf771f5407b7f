"""PPO: hand-computed numbers, and what one step does to a tiny model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from legibility.config import PPOSettings
from legibility.models.prover import Prover, add_lora
from legibility.packing import pack
from legibility.player_settings import LoraSettings, ProverSettings
from legibility.ppo import (
    PPO,
    Batch,
    Estimates,
    Layout,
    Scored,
    UpdateStats,
    advantages,
    diagnostics,
    gae,
    kl_estimates,
    length_buckets,
    policy_loss,
    pooled,
)
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL
from legibility.rollouts import Completion, sample
from tests.support import forward_logprobs, llama, prover_of, tiny_model

# ---------------------------------------------------------------- advantages


def test_gae_by_hand():
    """gamma 0.9, lambda 0.5; the second sequence is one token long, what stands after it must not matter."""
    rewards = np.array([[0.0, 1.0, 2.0], [3.0, 50.0, -50.0]])
    values = np.array([[0.5, 1.0, 1.5], [1.0, 70.0, -70.0]])
    mask = np.array([[1, 1, 1], [1, 0, 0]])
    # deltas of the first: 0 + 0.9*1 - 0.5 = 0.4, 1 + 0.9*1.5 - 1 = 1.35, 2 - 1.5 = 0.5
    # advantages: 0.5, 1.35 + 0.45*0.5 = 1.575, 0.4 + 0.45*1.575 = 1.10875
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    np.testing.assert_allclose(advantages, [[1.10875, 1.575, 0.5], [2.0, 0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(returns, [[1.60875, 2.575, 2.0], [3.0, 0.0, 0.0]], atol=1e-12)


numbers = st.floats(-5, 5, width=32)


@given(data=st.data(), batch=st.integers(1, 4), time=st.integers(1, 6), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_gae_is_the_discounted_sum_of_td_errors(data, batch, time, gamma, lam):
    """Against the definition, sequence by sequence: A_t = sum_k (gamma lam)^k delta_{t+k} (eq. 16)."""
    rewards, values = (data.draw(arrays(np.float64, (batch, time), elements=numbers)) for _ in range(2))
    lengths = data.draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch))
    mask = np.arange(time)[None] < np.array(lengths)[:, None]
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for i, length in enumerate(lengths):
        v = [*values[i, :length], 0.0]
        delta = [rewards[i, t] + gamma * v[t + 1] - v[t] for t in range(length)]
        slow = [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length)) for t in range(length)]
        np.testing.assert_allclose(advantages[i, :length], slow, atol=1e-9)
        np.testing.assert_allclose(returns[i, :length], np.array(slow) + values[i, :length], atol=1e-9)
    assert not advantages[~mask].any() and not returns[~mask].any()


def test_gae_without_discount_or_critic_is_the_reward_to_go():
    advantages, returns = gae(np.array([[0.0, -1.0, 4.0]]), np.zeros((1, 3)), np.ones((1, 3)), gamma=1.0, lam=1.0)
    np.testing.assert_allclose(advantages, [[3.0, 3.0, 4.0]])
    np.testing.assert_allclose(returns, advantages)


# ---------------------------------------------------------------- the clipped objective


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # inside the range: the plain policy gradient, d loss / d log-prob = -ratio * A
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # better than the range allows: clipped, nothing more to gain
        (0.5, 2.0, -1.0, -1.0),  # worse than before: never clipped
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_policy_loss_by_hand(ratio, advantage, loss, slope):
    old = torch.tensor([-1.0])
    new = (old + np.log(ratio)).requires_grad_()
    losses, ratios = policy_loss(new, old, torch.tensor([advantage]), clip=0.2)
    losses.sum().backward()
    assert ratios.item() == pytest.approx(ratio, rel=1e-6)
    assert losses.item() == pytest.approx(loss, rel=1e-6)
    assert new.grad.item() == pytest.approx(slope, rel=1e-6, abs=1e-12)


@given(arrays(np.float64, 5, elements=st.floats(-3, 3)), arrays(np.float64, 5, elements=st.floats(-3, 3)))
def test_kl_estimates_average_to_the_exact_divergence(a, b):
    """The mean of k1 and of k3 over the policy's own distribution is KL(policy || reference); k3 is never negative."""
    policy, reference = (x - np.log(np.exp(x).sum()) for x in (a, b))
    exact = float(np.sum(np.exp(policy) * (policy - reference)))
    k1, k3 = kl_estimates(policy, reference)
    assert (k3 >= -1e-12).all()
    assert np.sum(np.exp(policy) * k1) == pytest.approx(exact, abs=1e-9)
    assert np.sum(np.exp(policy) * k3) == pytest.approx(exact, abs=1e-9)


# ---------------------------------------------------------------- the stages of a step, by hand


def completion(length: int) -> Completion:
    return Completion(ids=list(range(length)), logprobs=[-1.0] * length, truncated=False)


# two prompts of 3 and 2 tokens; completions of 2, 1 and 3 tokens
SMALL = Batch([[1, 2, 3], [4, 5]], [[completion(2), completion(1)], [completion(3)]], np.array([1.0, -1.0, 2.0]))


def test_layout_by_hand():
    layout = Layout.of(SMALL)
    assert layout.lengths.tolist() == [2, 1, 3]
    assert layout.offsets.tolist() == [0, 2, 3, 6]
    assert layout.first.tolist() == [0, 2, 3]
    assert layout.packed_lengths.tolist() == [3 + 1 + 0, 2 + 2]
    assert layout.mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert layout.tokens([1, 0]).tolist() == [3, 4, 5, 0, 1, 2]
    assert (layout.count([0]), layout.count([1]), layout.count([0, 1])) == (3, 3, 6)
    assert [layout.groups_of(n) for n in (1, 2, 3, 4, 9)] == [1, 1, 1, 2, 4]  # the largest group has two completions


def test_advantages_by_hand():
    """KL penalty 0.5 per nat, gamma = lambda = 1: the advantage is the reward to go minus the value."""
    scored = Scored(
        logprobs=np.array([-1.0, -2.0, -1.0, -1.0, -1.0, -3.0]),
        reference=np.array([-2.0, -2.0, -1.0, -1.0, -3.0, -1.0]),
        values=np.array([0.5, 0.0, 1.0, 0.0, 0.0, 0.25]),
    )
    settings = ppo_settings(kl_coefficient=0.5, gamma=1.0, lam=1.0, whiten=False)
    estimates = advantages(SMALL.rewards, scored, Layout.of(SMALL), settings)
    np.testing.assert_allclose(estimates.k1, [1, 0, 0, 0, 2, -2])
    # token rewards: -0.5, 1 | -1 | 0, -1, 3
    np.testing.assert_allclose(estimates.returns, [0.5, 1, -1, 2, 2, 3])
    np.testing.assert_allclose(estimates.advantages, [0, 1, -2, 2, 2, 2.75])
    assert estimates.advantage_std == pytest.approx(np.std([0, 1, -2, 2, 2, 2.75]))
    whitened = advantages(SMALL.rewards, scored, Layout.of(SMALL), settings.model_copy(update={"whiten": True}))
    assert whitened.advantages.mean() == pytest.approx(0) and whitened.advantages.std() == pytest.approx(1, abs=1e-5)
    assert whitened.advantage_std == estimates.advantage_std


def shared(own: str) -> Completion:
    """A completion of as many tokens, the policy's marked "p", somebody else's "j"; 8 for every log-prob and value of theirs."""
    mine = [x == "p" for x in own]
    return Completion(
        list(range(len(own))), [-1.0 if m else 8.0 for m in mine], False, [0.5 if m else 8.0 for m in mine], mine
    )


# two texts that a junior wrote along, one that it wrote alone
JOINT = Batch([[1, 2, 3], [4, 5]], [[shared("pjjp"), shared("jpj")], [shared("jj")]], np.array([1.0, -1.0, 2.0]))


def test_only_own_tokens_have_a_place():
    acted = JOINT.acted
    assert acted.prompts == [[1, 2, 3]] and acted.rewards.tolist() == [1.0, -1.0]
    layout = Layout.of(acted)
    assert layout.lengths.tolist() == [2, 1] and layout.offsets.tolist() == [0, 2, 3]
    assert layout.packed_lengths.tolist() == [3 + 3 + 2]
    assert SMALL.acted is SMALL


def test_gae_steps_over_what_somebody_else_wrote():
    """gamma 0.9, lambda 0.5, KL penalty 0.5 per nat: the junior's stretch takes no time, and the last own token is paid."""
    scored = Scored(
        logprobs=np.array([-1.0, -2.0, -1.0]), reference=np.array([-2.0, -2.0, -3.0]), values=np.array([0.5, 1.0, 0.25])
    )
    settings = ppo_settings(kl_coefficient=0.5, gamma=0.9, lam=0.5, whiten=False)
    estimates = advantages(JOINT.acted.rewards, scored, Layout.of(JOINT.acted), settings)
    # first text, its two own tokens: rewards -0.5 and 1; deltas -0.5 + 0.9 * 1 - 0.5 = -0.1 and 1 - 1 = 0
    # second text, one own token: reward -1 - 0.5 * 2 = -2; delta -2 - 0.25
    np.testing.assert_allclose(estimates.advantages, [-0.1 + 0.45 * 0.0, 0.0, -2.25], atol=1e-12)
    np.testing.assert_allclose(estimates.returns, [0.4, 1.0, -2.0], atol=1e-12)


def test_diagnostics_by_hand():
    scored = Scored(logprobs=-np.arange(6.0), reference=np.zeros(6), values=np.array([0.0, 0, 0, 1, 1, 1]))
    returns = np.array([0.0, 0, 0, 2, 2, 2])
    k1, k3 = np.array([1.0, 0, 3, 1, 1, 0]), np.array([0.5, 0.5, 0, 0, 0, 2])
    estimates = Estimates(np.zeros(6), 0.7, returns, k1, k3)
    assert diagnostics(scored, estimates, Layout.of(SMALL), [1.0, 3.0]) == pytest.approx(
        {
            "kl": (1 + 3 + 2) / 3,  # a sum per completion
            "kl_k3": (1 + 0 + 2) / 3,
            "entropy": 2.5,
            "advantage_std": 0.7,
            "explained_variance": 1 - 0.25 / 1.0,
            "return_mean": 1.0,
            "grad_norm": 2.0,
        }
    )


def test_processes_pool_their_updates():
    """Means over the tokens of all, and the largest gap of any."""
    one, other = UpdateStats(), UpdateStats()
    one.add(
        policy_loss=torch.tensor([1.0, 2.0]),
        value_loss=torch.tensor([0.0, 4.0]),
        clip_fraction=torch.tensor([1.0, 0.0]),
        ratio=torch.tensor([1.0, 1.0]),
    )
    other.add(**{name: torch.tensor([2.0]) for name in ("policy_loss", "value_loss", "clip_fraction", "ratio")})
    one.gaps["logprob_gap"], other.gaps["logprob_gap"] = 0.25, 0.5
    assert (one.tokens, other.tokens) == (2, 1)
    assert pooled([one, other]) == pytest.approx(
        {
            "logprob_gap": 0.5,
            "first_ratio_gap": 0.0,
            "policy_loss": 5 / 3,
            "value_loss": 2.0,
            "clip_fraction": 1.0,
            "ratio": 4 / 3,
        }
    )


# ---------------------------------------------------------------- steps on a tiny model

PROMPTS = [[70, 71, 72, 73], [80, 81], [90, 91, 92], [60, 61, 62, 63, 64, 65]]


@pytest.fixture
def prover(byte_tokenizer):
    return prover_of(llama(byte_tokenizer, layers=2, initializer_range=0.3), byte_tokenizer)


def ppo_settings(**changes) -> PPOSettings:
    defaults = dict(
        samples_per_role=4,
        minibatch_size=8,
        micro_batch_size=8,
        epochs=2,
        learning_rate=1e-3,
        kl_coefficient=0.0,
        value_learning_rate=1e-2,
    )
    return PPOSettings(**{**defaults, **changes})


def draw(prover, seed: int = 0, samples: int = 4, tokens: int = 6) -> list[list[Completion]]:
    return sample(prover, PROMPTS, samples, seed=seed, max_new_tokens=tokens)


def a_batch(prover, seed: int = 0) -> Batch:
    rewards = np.random.default_rng(seed).normal(size=16)
    return Batch(PROMPTS, draw(prover, seed), rewards)


def weights(prover) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in prover.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one)


def test_first_step(prover):
    ppo = PPO(prover, ppo_settings())
    before, reference, head = weights(prover), weights(ppo.reference), copy.deepcopy(ppo.value_head)
    metrics = ppo.step(a_batch(prover), np.random.default_rng(0))
    assert metrics["first_ratio_gap"] < 1e-5  # 1 but for the rounding of differently padded rows
    assert metrics["logprob_gap"] < 1e-3
    assert metrics["kl"] == pytest.approx(0.0, abs=1e-5)  # the policy is still its reference when measured
    assert not same(before, weights(prover))
    assert same(reference, weights(ppo.reference))
    assert not torch.equal(head.linear.weight, ppo.value_head.linear.weight)
    assert all(np.isfinite(v) for v in metrics.values())


def test_later_steps_keep_ratio_one_and_measure_drift(prover):
    ppo = PPO(prover, ppo_settings(learning_rate=5e-3))
    metrics = [ppo.step(a_batch(prover, seed), np.random.default_rng(seed)) for seed in range(3)]
    assert max(m["first_ratio_gap"] for m in metrics) < 1e-5
    assert metrics[-1]["kl_k3"] > 1e-3
    assert metrics[-1]["clip_fraction"] > 0


def test_logprob_gap_shows_completions_of_another_policy(prover):
    batch = a_batch(prover)
    batch.completions[1][2].logprobs[0] -= 0.5
    assert PPO(prover, ppo_settings()).step(batch, np.random.default_rng(0))["logprob_gap"] == pytest.approx(
        0.5, abs=1e-3
    )


def with_own(batch: Batch, own) -> Batch:
    """The batch with marks: own(completion) are they; what stands beside tokens of others is made absurd."""
    marked = []
    for group in batch.completions:
        marked.append([])
        for c in group:
            mine = own(c)
            beside = [x if m else 99.0 for x, m in zip(c.logprobs, mine, strict=True)]
            marked[-1].append(Completion(c.ids, beside, c.truncated, c.values, mine))
    return Batch(batch.prompts, marked, batch.rewards)


@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_a_mask_of_own_tokens_alone_changes_no_bit(prover, critic):
    batch, results = a_batch(prover), []
    for marked in (batch, with_own(batch, lambda c: [True] * len(c.ids))):
        torch.manual_seed(0)
        ppo = PPO(prover_of(copy.deepcopy(prover.model), prover.tokenizer), ppo_settings(critic=critic))
        results.append((ppo.step(marked, np.random.default_rng(1)), [p.detach().clone() for p in ppo.trained]))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


@pytest.mark.parametrize("reuse", ["sampled", "recomputed"])
def test_tokens_of_others_are_read_and_not_learnt(prover, reuse):
    """At ratio 1 the update is -mean over own tokens of A * grad log-prob, by plain forward passes over the joint text."""
    changes = dict(epochs=1, minibatch_size=16, micro_batch_size=16, max_grad_norm=1e9, lam=1.0, old_logprobs=reuse)
    ppo = PPO(prover, ppo_settings(**changes))
    ppo.optimizer = torch.optim.SGD(ppo.parameters, lr=1.0)
    batch = with_own(a_batch(prover), lambda c: [k % 3 != 1 for k in range(len(c.ids))])
    twin = copy.deepcopy(prover.model)
    flat = [(p, c) for p, group in zip(PROMPTS, batch.completions, strict=True) for c in group]
    advantages = np.repeat(batch.rewards, [c.own_count for _, c in flat])
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
    logprobs = torch.cat([forward_logprobs(twin, p, c.ids)[torch.tensor(c.own)] for p, c in flat])
    (-(torch.tensor(advantages, dtype=torch.float32) * logprobs).mean()).backward()
    metrics = ppo.step(batch, np.random.default_rng(0))
    assert metrics["logprob_gap"] < 1e-3 and metrics["first_ratio_gap"] < 1e-4
    for after, start in zip(prover.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(after.detach(), start.detach() - start.grad, atol=2e-5, rtol=1e-3)


def test_a_batch_without_own_tokens_is_refused(prover):
    with pytest.raises(ValueError, match="wrote no token"):
        PPO(prover, ppo_settings()).step(
            with_own(a_batch(prover), lambda c: [False] * len(c.ids)), np.random.default_rng(0)
        )


def test_metrics_by_hand(prover):
    """kl, entropy and returns recomputed with plain forward passes, for a policy away from its reference."""
    ppo = PPO(prover, ppo_settings(kl_coefficient=0.3, epochs=1))
    perturb(prover, 0.05)
    batch = a_batch(prover)
    flat = [(p, c.ids) for p, group in zip(PROMPTS, batch.completions, strict=True) for c in group]
    with torch.no_grad():
        new = [forward_logprobs(prover.model, p, ids) for p, ids in flat]
        old = [forward_logprobs(ppo.reference.model, p, ids) for p, ids in flat]
    metrics = ppo.step(batch, np.random.default_rng(0))
    kl = np.array([(a - b).sum().item() for a, b in zip(new, old, strict=True)])
    assert abs(kl.mean()) > 0.01
    assert metrics["kl"] == pytest.approx(kl.mean(), rel=1e-3)
    assert metrics["entropy"] == pytest.approx(-torch.cat(new).mean().item(), rel=1e-4)
    # the critic starts at 0, so with gamma = 1 the lambda-return of a token is built from the rewards after it
    expected = []
    for a, b, r in zip(new, old, batch.rewards, strict=True):
        token_rewards = (-0.3 * (a - b)).numpy().astype(float)
        token_rewards[-1] += r
        expected += [
            sum(0.95 ** (k - t) * token_rewards[k] for k in range(t, len(token_rewards)))
            for t in range(len(token_rewards))
        ]
    assert metrics["return_mean"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert metrics["advantage_std"] == pytest.approx(np.std(expected), rel=1e-3)


@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_a_value_head_that_is_far_off_does_not_shrink_the_policys_step(prover, critic):
    """Policy, value head and critic are clipped each by itself."""
    ppo = PPO(prover, ppo_settings(max_grad_norm=1.0, critic=critic))
    ppo.optimizer = torch.optim.SGD(ppo.trained, lr=1.0)
    before = [p.detach().clone() for p in ppo.trained]
    for parameters, norm in (
        (ppo.parameters, 0.6),
        (list(ppo.value_head.parameters()), 30.0),
        (ppo.critic_parameters, 4.0),
    ):
        size = sum(p.numel() for p in parameters)
        for p in parameters:
            p.grad = torch.full_like(p, norm / size**0.5)
    assert ppo._optimizer_step() == pytest.approx(0.6, rel=1e-4), "grad_norm is the policy's"
    moved = {id(p): (p.detach() - old).norm() ** 2 for p, old in zip(ppo.trained, before, strict=True)}

    def step(parameters) -> float:
        return float(sum(moved[id(p)] for p in parameters)) ** 0.5

    assert step(ppo.parameters) == pytest.approx(0.6, rel=1e-3)
    assert step(ppo.value_head.parameters()) == pytest.approx(1.0, rel=1e-3)
    assert step(ppo.critic_parameters) == pytest.approx(1.0 if critic == "separate" else 0.0, rel=1e-3)


def test_one_full_batch_update_is_the_policy_gradient(prover):
    """At ratio 1 the update must be -mean over tokens of A * grad log-prob, here by plain forward passes and SGD."""
    ppo = PPO(prover, ppo_settings(epochs=1, minibatch_size=16, micro_batch_size=16, max_grad_norm=1e9, lam=1.0))
    ppo.optimizer = torch.optim.SGD(ppo.parameters, lr=1.0)
    batch = a_batch(prover)
    twin = copy.deepcopy(prover.model)
    flat = [(p, c.ids) for p, group in zip(PROMPTS, batch.completions, strict=True) for c in group]
    advantages = np.repeat(batch.rewards, [len(ids) for _, ids in flat])
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
    logprobs = torch.cat([forward_logprobs(twin, p, ids) for p, ids in flat])
    (-(torch.tensor(advantages, dtype=torch.float32) * logprobs).mean()).backward()
    ppo.step(batch, np.random.default_rng(0))
    for (name, after), start in zip(prover.model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(
            after.detach(), (start - start.grad).detach(), atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_gradient_accumulation_changes_nothing(prover):
    batch, results = a_batch(prover), []
    for micro in (16, 8, 4):
        twin = prover_of(copy.deepcopy(prover.model), prover.tokenizer)
        ppo = PPO(twin, ppo_settings(minibatch_size=16, micro_batch_size=micro, epochs=2, critic="shared"))
        ppo.optimizer = torch.optim.SGD([*ppo.parameters, *ppo.value_head.parameters()], lr=0.1)
        ppo.step(batch, np.random.default_rng(0))
        results.append({**weights(twin), **ppo.value_head.state_dict()})
    assert not torch.equal(results[0]["linear.weight"], torch.zeros_like(results[0]["linear.weight"]))
    for other in results[1:]:
        for name, value in results[0].items():
            torch.testing.assert_close(other[name], value, atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_a_bandit_is_solved(prover):
    """Reward 1 if the first token is one of a quarter of the vocabulary: its probability must rise."""
    paid = torch.arange(len(prover.tokenizer)) % 4 == 0

    @torch.no_grad()
    def chance() -> float:
        rows = [prover.model(input_ids=torch.tensor([p])).logits[0, -1].softmax(-1) for p in PROMPTS]
        return float(torch.stack(rows)[:, paid].sum(1).mean())

    ppo = PPO(prover, ppo_settings(samples_per_role=8, minibatch_size=32, micro_batch_size=32, learning_rate=5e-3))
    start = chance()
    for step in range(15):
        completions = draw(prover, seed=step, samples=8, tokens=2)
        rewards = np.array([float(paid[c.ids[0]]) for group in completions for c in group])
        ppo.step(Batch(PROMPTS, completions, rewards), np.random.default_rng(step))
    assert start < 0.45
    assert chance() > start + 0.3


def test_the_kl_penalty_pulls_the_policy_back(prover):
    """Without any other reward, a policy that has drifted returns towards its reference, and without a penalty it does not."""

    @torch.no_grad()
    def divergence(ppo) -> float:
        total = 0.0
        for prompt in PROMPTS:
            p, q = (
                m(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
                for m in (ppo.policy.model, ppo.reference.model)
            )
            total += float((p.exp() * (p - q)).sum())
        return total / len(PROMPTS)

    results = {}
    for coefficient in (0.0, 2.0):
        twin = prover_of(copy.deepcopy(prover.model), prover.tokenizer)
        ppo = PPO(
            twin,
            ppo_settings(
                samples_per_role=16,
                minibatch_size=64,
                micro_batch_size=64,
                kl_coefficient=coefficient,
                learning_rate=3e-3,
            ),
        )
        perturb(twin, 0.15)
        start = divergence(ppo)
        for step in range(12):
            completions = draw(twin, seed=step, samples=16, tokens=2)
            ppo.step(Batch(PROMPTS, completions, np.zeros(64)), np.random.default_rng(step))
        results[coefficient] = divergence(ppo) / start
    assert results[0.0] == pytest.approx(1.0)
    assert results[2.0] < 0.7


def perturb(prover, size: float) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in prover.model.parameters():
            p += size * p.std() * torch.randn(p.shape, generator=generator)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 5))
def test_minibatches_hold_every_group_once(lengths, size, seed):
    for rng in (None, np.random.default_rng(seed)):
        batches = length_buckets(np.array(lengths), size, rng)
        assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
        assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1)
        assert all(len(b) <= size for b in batches)


def test_a_step_draws_from_the_given_generator_only(prover):
    batch, results = a_batch(prover), []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        twin = prover_of(copy.deepcopy(prover.model), prover.tokenizer)
        PPO(twin, ppo_settings()).step(batch, np.random.default_rng(seed))
        results.append(weights(twin))
    assert same(results[0], results[1]) and not same(results[0], results[2])


# ---------------------------------------------------------------- LoRA


@pytest.fixture
def lora_prover(byte_tokenizer):
    model = llama(byte_tokenizer, layers=2, initializer_range=0.3)
    settings = ProverSettings(lora=LoraSettings(r=4, alpha=8))
    return prover_of(add_lora(model, settings, seed=3), byte_tokenizer)


def test_lora_reference_is_the_base_model(lora_prover, byte_tokenizer):
    base = llama(byte_tokenizer, layers=2, initializer_range=0.3)
    ppo = PPO(lora_prover, ppo_settings(learning_rate=2e-2))
    for step in range(3):
        metrics = ppo.step(a_batch(lora_prover, step), np.random.default_rng(step))
    assert metrics["first_ratio_gap"] < 1e-5 and metrics["kl_k3"] > 1e-3
    packed = pack(PROMPTS, [[[5, 6, 7]]] * 4)
    with torch.no_grad():
        expected = prover_of(base, byte_tokenizer).hidden_and_logits(packed)[1]
        torch.testing.assert_close(ppo.reference.hidden_and_logits(packed)[1], expected)
        moved = lora_prover.hidden_and_logits(packed)[1]
    assert (moved - expected).abs().max() > 1e-2
    trained = {n for n, p in lora_prover.model.named_parameters() if p.requires_grad}
    assert trained and all("lora" in n for n in trained)


def test_the_reference_of_a_trained_adapter_is_that_adapter(lora_prover):
    """An attacker may start from a prover that was trained: its KL is to that start, not to the model below it."""
    first = PPO(lora_prover, ppo_settings(learning_rate=2e-2))
    for step in range(3):
        first.step(a_batch(lora_prover, step), np.random.default_rng(step))
    again = PPO(lora_prover, ppo_settings(learning_rate=2e-2))
    assert again.step(a_batch(lora_prover, 7), np.random.default_rng(7))["kl_k3"] == pytest.approx(0.0, abs=1e-6)
    assert again.step(a_batch(lora_prover, 8), np.random.default_rng(8))["kl_k3"] > 1e-3  # and it stays where it was


def test_lora_adapters_come_from_their_seed_alone(byte_tokenizer):
    def adapter(seed):
        model = add_lora(llama(byte_tokenizer), ProverSettings(lora=LoraSettings()), seed)
        return {n: p.detach().clone() for n, p in model.named_parameters() if "lora_A" in n}

    torch.manual_seed(1)
    first, state = adapter(0), torch.get_rng_state()
    torch.manual_seed(2)
    assert same(first, adapter(0)) and not same(first, adapter(1))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("lora", [None, LoraSettings(r=4)])
def test_gradient_checkpointing_recomputes_in_the_update(tiny_prover_dir, lora):
    """The setting must be in force where memory is spent, in PPO's own update, and change no number."""
    results = {}
    for on in (False, True):
        twin = Prover.load(
            ProverSettings(model=str(tiny_prover_dir), gradient_checkpointing=on, lora=lora), "cpu", seed=0
        )
        prompts = [twin.prompt_ids(Problem("p", "Tom has 3 pens. Ann has 4.", "7"), HELPFUL)]
        completions = sample(twin, prompts, 4, seed=0, max_new_tokens=5)
        ppo, passes = PPO(twin, ppo_settings(minibatch_size=4, micro_batch_size=4, epochs=1)), []
        # counted on entry: recomputation stops before a module returns, as soon as it has what it needs
        twin.causal.model.layers[0].mlp.register_forward_pre_hook(lambda *_, seen=passes: seen.append(1))
        ppo.step(Batch(prompts, completions, np.array([1.0, 0, 0, -1])), np.random.default_rng(0))
        results[on] = weights(twin), len(passes)
    plain = 2 if lora is None else 3  # old log-probs, (the reference: adapter off,) update
    assert [results[on][1] for on in (False, True)] == [plain, plain + 1]  # and once more in the backward pass
    for name, value in results[False][0].items():
        torch.testing.assert_close(results[True][0][name], value, atol=1e-5, rtol=0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_never_reaches_the_ratio(byte_tokenizer, checkpointing):
    """GPT-2 comes with dropout 0.1; new and old log-probs must still be those of one function, and none be random."""
    results = []
    for elsewhere in (1, 2):
        twin = prover_of(tiny_model("gpt2", byte_tokenizer), byte_tokenizer)
        if checkpointing:
            twin.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        torch.manual_seed(elsewhere)
        metrics = PPO(twin, ppo_settings()).step(a_batch(twin), np.random.default_rng(0))
        assert metrics["first_ratio_gap"] < 1e-4 and metrics["logprob_gap"] < 1e-3
        results.append(weights(twin))
    assert same(*results)


# ---------------------------------------------------------------- the critic


def test_a_separate_critic_learns_apart_from_the_policy(tiny_prover_dir, tmp_path):
    """Its trunk moves, the policy's update is exactly the detached critic's, and both are saved."""
    results = {}
    for critic in ("detached", "separate"):
        twin = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
        ppo = PPO(twin, ppo_settings(critic=critic, max_grad_norm=1e9, lam=1.0, whiten=False, epochs=1))
        everything = [p for group in ppo.optimizer.param_groups for p in group["params"]]
        ppo.optimizer = torch.optim.SGD(everything, lr=0.1)  # Adam would enlarge rounding
        ppo.step(a_batch(twin), np.random.default_rng(0))
        results[critic] = weights(twin), ppo
    for name, value in results["detached"][0].items():  # the first step's values are 0 under either
        torch.testing.assert_close(results["separate"][0][name], value, atol=1e-6, rtol=0)
    critic = results["separate"][1].critic
    start = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu").model
    assert not same(dict(critic.state_dict()), dict(start.state_dict()))
    results["separate"][1].save(tmp_path)
    assert (tmp_path / "critic" / "model.safetensors").is_file() and (tmp_path / "value_head.safetensors").is_file()


def test_a_separate_critic_learns_what_is_paid(tiny_prover_dir):
    twin = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
    ppo = PPO(twin, ppo_settings(critic="separate", learning_rate=3e-3, value_learning_rate=1e-2, lam=1.0))
    explained = []
    for step in range(30):
        completions = sample(twin, PROMPTS, 4, seed=step, max_new_tokens=6, value_head=ppo.sampling_head)
        paid = np.repeat(np.arange(len(PROMPTS)), 4).astype(float)  # the prompt alone decides
        explained.append(ppo.step(Batch(PROMPTS, completions, paid), np.random.default_rng(step))["explained_variance"])
    assert explained[0] == pytest.approx(0, abs=0.05) and explained[-1] > 0.3


def test_sampled_and_recomputed_log_probs_give_the_same_update(tiny_prover_dir):
    results = []
    for choice in ("sampled", "recomputed"):
        twin = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
        ppo = PPO(twin, ppo_settings(old_logprobs=choice))
        ppo.optimizer = torch.optim.SGD(
            [*ppo.parameters, *ppo.value_head.parameters()], lr=0.1
        )  # Adam would enlarge rounding
        assert (ppo.sampling_head is None) == (choice == "recomputed")
        for step in range(2):  # in the second the values are no longer zero
            drawn = sample(twin, PROMPTS, 4, seed=step, max_new_tokens=6, value_head=ppo.sampling_head)
            rewards = np.random.default_rng(step).normal(size=16)
            ppo.step(Batch(PROMPTS, drawn, rewards), np.random.default_rng(step))
        results.append(weights(twin))
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], atol=2e-5, rtol=1e-4)
