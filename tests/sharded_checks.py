"""What two ranks check that hold networks in parts: a script of its own, started by torchrun (tests/test_sharding.py).

Every check does a thing with whole networks in rank 0 alone and with spread ones, and compares.
"""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification, LlamaForSequenceClassification

from legibility import sharding
from legibility.checkpoint_files import Origin
from legibility.checkpoints import Checkpoints
from legibility.config import PPOSettings
from legibility.launch import launch
from legibility.launched_team import LaunchedTeam
from legibility.models.loading import load_tokenizer
from legibility.models.nano import NANO_DIR
from legibility.models.prover import add_lora, recompute_activations
from legibility.models.verifier import Verifier
from legibility.player_settings import LoraSettings, ProverSettings, VerifierSettings
from legibility.ppo import PPO, Batch
from legibility.problems.records import Problem
from legibility.rollouts import sample
from legibility.sharded_team import ShardedTeam
from legibility.verifier_course import VerifierSoFar
from legibility.verifier_training import LabelledSolution, train_verifier
from tests.support import llama, prover_of, tiny_model

TOKENIZER = load_tokenizer(str(NANO_DIR / "prover"), "prover")
PROMPTS = [[5, 9, 12], [7, 8], [3, 3, 3, 4, 9], [6], [4, 11, 5, 5]]


def make(kind: str):
    """A random model of one of the kinds that are compared."""
    if kind == "gpt2":
        return tiny_model("gpt2", TOKENIZER)
    model = llama(TOKENIZER, layers=3, tie_word_embeddings=kind != "untied")
    if kind == "lora":
        model = add_lora(model, ProverSettings(lora=LoraSettings(r=4, alpha=8)), 0)
    if kind in ("lora", "recomputed"):
        recompute_activations(model)
    return model.to(torch.bfloat16) if kind == "bfloat16" else model


def settings(**changes) -> PPOSettings:
    # 5 prompts in minibatches of 3, micro-batches of 1: the ranks have unequal numbers of them
    return PPOSettings(
        **{
            **dict(
                samples_per_role=2,
                epochs=2,
                minibatch_size=6,
                micro_batch_size=2,
                learning_rate=1e-3,
                critic="separate",
            ),
            **changes,
        }
    )


def drawn(prover, team=None, engine="fast", value_head=None):
    return sample(
        prover, PROMPTS, 2, seed=3, max_new_tokens=6, engine=engine, batch=4, team=team, value_head=value_head
    )


def steps(prover, ppo, numbers, team=None) -> list[dict[str, float]]:
    """PPO steps with those numbers: completions drawn from the policy, rewards that depend on nothing else."""
    metrics = []
    for number in numbers:
        completions = drawn(prover, team, value_head=ppo.sampling_head)
        rewards = np.random.default_rng(number).normal(size=2 * len(PROMPTS))
        metrics.append(ppo.step(Batch(PROMPTS, completions, rewards), np.random.default_rng(number)))
    return metrics


def as_one(kind: str, numbers, **changes):
    """The steps in one process."""
    prover = prover_of(make(kind), TOKENIZER)
    ppo = PPO(prover, settings(**changes))
    return ppo, steps(prover, ppo, numbers)


def networks(ppo) -> dict[str, torch.Tensor]:
    found = dict(ppo.policy.model.named_parameters())
    return {**found, **({f"critic.{n}": p for n, p in ppo.critic.named_parameters()} if ppo.critic else {})}


def compare(team, kind: str, bound: float, **changes) -> None:
    """Three steps: the same first text, close metrics, close weights, and parts of half the size."""
    whole, expected = as_one(kind, range(3), **changes)
    prover = prover_of(make(kind), TOKENIZER)
    before = copy.deepcopy(prover.model.state_dict())
    first = drawn(prover)
    ppo = PPO(prover, settings(**changes), team)
    with team.together(prover, ppo, ppo.value_head):
        again = drawn(prover, team)
        assert [[c.ids for c in g] for g in again] == [[c.ids for c in g] for g in first], kind
        pairs = [
            (a, b)
            for g, h in zip(again, first, strict=True)
            for c, d in zip(g, h, strict=True)
            for a, b in zip(c.logprobs, d.logprobs, strict=True)
        ]
        assert max(abs(a - b) for a, b in pairs) < 1e-5, kind  # ranks decode other texts together
        found = steps(prover, ppo, range(3), team)
        held = team.run(held_bytes, ppo)
    for one, other in zip(expected, found, strict=True):
        for name in ("grad_norm", "policy_loss", "value_loss", "kl", "logprob_gap"):
            assert abs(one[name] - other[name]) <= 10 * bound * max(1, abs(one[name])), (
                kind,
                name,
                one[name],
                other[name],
            )
    # with a critic of its own the reference policy, the critic and the policy: all whole again, and where they were
    trained, after = networks(whole), networks(ppo)
    assert trained.keys() == after.keys()
    for name, parameter in trained.items():
        assert after[name].dtype == parameter.dtype and after[name].shape == parameter.shape
        if name.endswith("c_attn.bias"):
            continue  # a key's bias changes nothing, so its gradient is rounding, of which Adam makes whole steps
        gap = (after[name] - parameter).abs().max().item()
        assert gap <= bound, (kind, name, gap)
    changed = [n for n, p in prover.model.state_dict().items() if not torch.equal(p, before[n])]
    assert changed and (kind != "lora" or all("lora_" in n for n in changed)), kind
    causal = prover.causal
    tied = causal.get_output_embeddings().weight is causal.get_input_embeddings().weight
    assert tied == (kind != "untied"), kind
    trained_bytes = sum(p.numel() * 4 for p in whole.parameters + whole.critic_parameters)  # masters are float32
    frozen = sum(p.numel() * p.element_size() for p in whole.policy.model.parameters() if not p.requires_grad)
    frozen *= 2 if ppo.critic else 1  # the critic has a base of its own
    if kind != "lora":
        frozen += sum(p.numel() * p.element_size() for p in whole.reference.model.parameters())
    for name, expected_bytes in (
        ("weights", trained_bytes + frozen),
        ("gradients", trained_bytes),
        ("moments", 2 * trained_bytes),
    ):
        parts = [h[name] for h in held]
        assert sum(parts) == expected_bytes, (kind, name, parts, expected_bytes)
        assert max(parts) <= 0.53 * expected_bytes, (kind, name, parts, expected_bytes)


def held_bytes(ppo) -> dict[str, int]:
    return ppo.held_bytes()


def save_in_between(team, folder: Path) -> None:
    """A prover saved by rank 0 while it is spread is an ordinary folder, its tied weights stored once."""
    prover = prover_of(make("tied"), TOKENIZER)
    with team.together(prover):
        team.whole(prover).save(folder / "saved")
        assert sharding.is_sharded(prover.causal)
    stored = load_file(folder / "saved" / "model.safetensors")
    assert "lm_head.weight" not in stored and "model.embed_tokens.weight" in stored
    loaded = AutoModelForCausalLM.from_pretrained(folder / "saved")
    assert type(loaded).__name__ == "LlamaForCausalLM" and loaded.config.architectures == ["LlamaForCausalLM"]
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    for name, parameter in prover.model.named_parameters():
        assert torch.equal(parameter, loaded.get_parameter(name)), name


def resume(team, kind: str) -> None:
    """Four steps are two, a checkpoint's tensors put into fresh networks, and two: to the last bit."""
    ends = []
    for pause in (False, True):
        saved = {}
        for numbers in ([0, 1], [2, 3]) if pause else ([0, 1, 2, 3],):
            prover = prover_of(make(kind), TOKENIZER)
            ppo = PPO(prover, settings(), team)
            with team.together(prover, ppo, ppo.value_head):
                if saved:
                    team.put_tensors(ppo, PPO.trained_tensors, saved)
                steps(prover, ppo, numbers, team)
                saved = team.whole_tensors(ppo, PPO.trained_tensors)
        ends.append(saved)
    assert ends[0].keys() == ends[1].keys()
    for name in ends[0]:
        assert torch.equal(ends[0][name], ends[1][name]), (kind, name)
    assert {name.split(".")[0] for name in ends[0]} == {"weights", "step", "exp_avg", "exp_avg_sq"}


def scores(team) -> None:
    """Scores of spread verifiers, of a decoder and of an encoder, are those of whole ones; they come back whole."""
    torch.manual_seed(0)
    encoder = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(TOKENIZER),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=128,
            num_labels=1,
            pad_token_id=TOKENIZER.pad_token_id,
        )
    ).eval()
    config = llama(TOKENIZER, layers=2).config
    config.num_labels = 1
    torch.manual_seed(1)
    decoder = LlamaForSequenceClassification(config).eval()
    problems = [Problem(str(k), f"Tom has {k} pens and buys {k + 1}.", "7") for k in range(5) for _ in range(3)]
    texts = [f"{k} + {j} = {k + j}\n#### {k + j}" for k in range(5) for j in range(3)]
    for model in (encoder, decoder):
        verifier = Verifier(model, TOKENIZER, template="{problem}\n{solution}", max_length=100, device="cpu", batch=4)
        alone = verifier.frozen().score(problems, texts)
        with team.together(verifier):
            assert team.run(is_spread, verifier) == [True] * team.size
            shared = verifier.score(problems, texts, team)
        assert not sharding.is_sharded(verifier.model)
        np.testing.assert_allclose(shared, alone, atol=1e-5)
        np.testing.assert_array_equal(verifier.score(problems, texts), alone)


def is_spread(verifier) -> bool:
    return sharding.is_sharded(verifier.model) and all(map(sharding.is_part, verifier.model.parameters()))


def classifier(kind: str) -> Verifier:
    """A verifier of random weights: a decoder, or an encoder, which is read through its own forward."""
    torch.manual_seed(0)
    if kind == "encoder":
        model = BertForSequenceClassification(
            BertConfig(
                vocab_size=len(TOKENIZER), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                max_position_embeddings=128, num_labels=1, pad_token_id=TOKENIZER.pad_token_id, hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )  # fmt: skip
    else:
        config = llama(TOKENIZER, layers=2).config
        config.num_labels = 1
        model = LlamaForSequenceClassification(config)
    return Verifier(model.eval(), TOKENIZER, template="{problem}\n{solution}", max_length=100, device="cpu", batch=4)


def taught(team, kind: str, settings: VerifierSettings, work: Path | None = None) -> Verifier:
    """A verifier after its training, of which checkpoints are kept in `work`."""
    verifier = classifier(kind)
    items = [
        LabelledSolution(
            Problem(str(k), f"Tom has {k} pens and buys {k + 1}.", "7"), f"{k} + {j}", j == 0, "base", "base"
        )
        for k in range(5)
        for j in range(3)
    ]
    checkpoints = None
    if work is not None:
        work.mkdir(exist_ok=True)
        checkpoints = Checkpoints(work, Origin(phase="p", settings={}, packages={}, inputs={}), 2, print)
    found = None if checkpoints is None else checkpoints.restore(VerifierSoFar)

    with team.together(verifier) if team is not None else nullcontext():
        assert team is None or team.run(is_spread, verifier) == [True] * team.size
        rng = np.random.default_rng(0)
        train_verifier(verifier, items, settings, rng, None, team, checkpoints, found)
    return verifier


def verifiers(team, folder: Path) -> None:
    """A verifier that is trained in parts ends like one trained whole; and goes on from a checkpoint to the last bit."""
    # a rank without a problem; ranks with one and two problems, each read in two pieces; the same in one pass each
    for kind, problems, size in (("decoder", 1, None), ("decoder", 3, 2), ("encoder", 3, None)):
        settings = VerifierSettings(updates=6, batch_problems=problems, learning_rate=1e-3, micro_batch_size=size)
        alone, parts = taught(None, kind, settings), taught(team, kind, settings)
        for (name, one), other in zip(alone.model.named_parameters(), parts.model.parameters(), strict=True):
            if not name.endswith("key.bias"):  # which changes nothing, so its gradient is rounding
                assert (one - other).abs().max() < 2e-5, (kind, size, name, (one - other).abs().max())
    settings = VerifierSettings(updates=6, batch_problems=3, learning_rate=1e-3)
    first = taught(team, "decoder", settings, folder / "work")
    newest = max((folder / "work" / ".checkpoints.tmp").glob("step_*"))
    assert newest.name == "step_00006"
    shutil.rmtree(newest)  # so that the training goes on from step 4
    again = taught(team, "decoder", settings, folder / "work")
    for one, other in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def engines(team) -> None:
    """Every engine draws from gathered weights what it draws from whole ones."""
    for kind in ("tied", "gpt2"):
        for engine in ("fast", "hf", "plain"):
            prover = prover_of(make(kind), TOKENIZER)
            prover.engines["fast"] = engine
            first = drawn(prover)
            with team.together(prover):
                again = drawn(prover, team)
            assert [[c.ids for c in g] for g in again] == [[c.ids for c in g] for g in first], (kind, engine)


CHECKS: dict[str, list[Callable[[ShardedTeam, Path], None]]] = {
    "few": [
        lambda team, _: compare(team, "tied", 2e-5),
        lambda team, _: compare(team, "lora", 2e-5),
        save_in_between,
        lambda team, _: resume(team, "tied"),
        lambda team, _: scores(team),
        verifiers,
    ],
    "more": [
        lambda team, _: compare(team, "untied", 2e-5, critic="shared"),
        lambda team, _: compare(team, "recomputed", 2e-5, critic="detached"),
        lambda team, _: compare(team, "gpt2", 2e-5, critic="detached"),
        lambda team, _: compare(team, "bfloat16", 0.02, critic="detached"),
        lambda team, _: resume(team, "lora"),
        lambda team, _: engines(team),
    ],
}


def main(which: str, folder: Path) -> None:
    place = launch()
    sharding.SMALL = 0
    if place.rank > 0:
        sys.exit(LaunchedTeam.serve(place))
    with ShardedTeam.join_sharded(place, 120, "cpu") as team:
        for check in CHECKS[which]:
            check(team, folder)
    print("all well", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
