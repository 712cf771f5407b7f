"""Memory, against the tensors of this package's own objects, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legibility.config import Config
from legibility.models.flat import flat_decoder, packed_hidden
from legibility.packing import pack
from legibility.planning.amounts import Lengths
from legibility.planning.devices import gpu
from legibility.planning.footprint import (
    MemoryItem,
    Models,
    PhaseMemory,
    activations,
    cache,
    logits,
    optimizer_state,
    prover_memory,
    reads_twice,
    verifier_memory,
    verifier_texts,
)
from legibility.planning.shapes import shape_of
from legibility.planning.work import Packed
from legibility.player_settings import LoraSettings, VerifierSettings
from legibility.ppo import PPO
from legibility.rollouts.cache import FlatStepper
from tests.planning.counting import kept_for_backward
from tests.planning.models import small
from tests.support import llama, prover_of

LENGTHS = Lengths(prompt=40, answer=20, longest=40, prompt_for_verifier=30)


def held(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("rank", [0, 4])
def test_weights_gradients_and_moments_are_those_of_an_optimizer(rank):
    model = small(rank=rank)
    shape = shape_of(small(), "prover", LoraSettings(r=rank) if rank else None)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moments = [x for state in optimizer.state.values() for name, x in state.items() if name != "step"]
    assert optimizer_state(shape, "float32") == (held(model.parameters()), held(p.grad for p in trained), held(moments))


def test_sixteen_bits_are_half():
    shape = shape_of(small(), "prover")
    assert [2 * x for x in optimizer_state(shape, "bfloat16")] == [*optimizer_state(shape, "float32")]


def test_the_cache_is_what_the_engine_allocates(tiny_tokenizer):
    model = llama(tiny_tokenizer, hidden=64, layers=2)
    stepper = FlatStepper(flat_decoder(model))
    stepper.prefill(torch.full((3, 30), 5), torch.tensor([30, 30, 30]), 4, 24)
    shape, facts = shape_of(model, "prover"), dict(rows=12, samples=4, prompt=30, limit=24, dtype="float32")
    assert cache(shape, **facts, is_cpu=True) == held([*stepper.keys, *stepper.values])
    assert cache(shape, **facts, is_cpu=False) == 2 * 2 * 64 * 12 * (30 + 24) * 4, "elsewhere a row has its own"


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_are_those_that_autograd_keeps(recompute):
    model = small(layers=6).train()
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    texts = pack([list(range(1, 41))] * 2, [[[5] * 20] * 4] * 2)
    with kept_for_backward(model) as kept:
        packed_hidden(model, texts)
    shape, packed = shape_of(small(layers=6), "prover"), Packed.of(2, 40, 4, 20)
    counted = activations(shape, packed, "float32", recompute=recompute, scores=False)
    if recompute:  # the layer that is made again is not there yet
        counted -= activations(shape, packed, "float32", recompute=False, scores=False) / shape.layers
    assert counted == pytest.approx(kept.bytes, rel=0.3)


def test_probabilities_of_attention_by_hand():
    shape, packed = shape_of(small(), "prover"), Packed.of(2, 40, 4, 20)
    with_scores, without = (activations(shape, packed, "bfloat16", recompute=False, scores=s) for s in (True, False))
    assert with_scores - without == 3 * 4 * 2 * 116**2 * (4 + 2), "3 layers, 4 heads, 2 groups"


def test_logits_are_a_piece_at_a_time():
    shape = shape_of(small(), "prover")
    assert logits(shape, 10, "float32", "cpu") == 10 * 300 * 12
    assert logits(shape, 1e9, "bfloat16", "cuda") == 256_000_000 * 10
    kept, pieces = (logits(shape, n, "float32", "cpu") for n in (200_000, 220_000))
    assert kept == 60_000_000 * 12 and pieces == 8_000_000 * 12, "66 million are made a piece at a time"


def test_a_peak_is_what_stays_and_the_largest_of_the_rest():
    items = [
        MemoryItem(name=n, bytes=b, transient=t) for n, b, t in (("w", 5, 0), ("a", 3, 1), ("b", 4, 1), ("c", 0, 0))
    ]
    memory = PhaseMemory.of("p", items)
    assert memory.peak == 9 and [i.name for i in memory.items] == ["w", "a", "b"]


@pytest.mark.parametrize("critic", ["detached", "separate"])
def test_what_stays_in_a_prover_phase_is_what_ppo_holds(tiny_tokenizer, critic):
    model = llama(tiny_tokenizer, hidden=64, layers=2)
    config = Config.model_validate({"ppo": {"critic": critic}})
    ppo = PPO(prover_of(model, tiny_tokenizer), config.ppo)
    for p in ppo.trained:
        p.grad = torch.zeros_like(p)
    ppo.optimizer.step()
    networks = [model, ppo.reference.model, *([ppo.critic] if ppo.critic else [])]
    moments = [x for s in ppo.optimizer.state.values() for name, x in s.items() if name != "step"]
    real = sum(held(n.parameters()) for n in networks) + held(p.grad for p in ppo.trained) + held(moments)
    shape = shape_of(model, "prover")
    memory = prover_memory(config, Models(shape, shape, None), LENGTHS, gpu("h100"), 1)
    stays = sum(i.bytes for i in memory.items if not i.transient and i.name != "verifier")
    assert stays == pytest.approx(real, rel=0.01)


def test_settings_and_ranks_make_it_smaller():
    shape = shape_of(small(), "prover")
    models, card = Models(shape, shape, None), gpu("h100")

    def peak(ranks=1, **changes):
        return prover_memory(Config.model_validate(changes), models, LENGTHS, card, ranks).peak

    assert peak(ppo={"micro_batch_size": 8}) < peak()
    assert peak(prover={"gradient_checkpointing": True}) < peak()
    assert peak(ranks=8) < peak()
    vllm = prover_memory(Config.model_validate({"compute": {"engine": "vllm"}}), models, LENGTHS, card, 1)
    (share,) = [i.bytes for i in vllm.items if i.name == "vLLM's share"]
    assert share == pytest.approx(0.4 * 80e9) and "sampling" not in str([i.name for i in vllm.items])
    elsewhere = Config.model_validate({"compute": {"engine": "vllm", "vllm": {"server": "http://other:8000"}}})
    names = [i.name for i in prover_memory(elsewhere, models, LENGTHS, card, 1).items]
    assert "vLLM's share" not in names and "sampling: cache and logits" not in names
    training = [verifier_memory("v", Config().verifier, shape, LENGTHS, card, ranks).peak for ranks in (1, 8)]
    assert training[1] < training[0] and np.isfinite(training).all()


@pytest.mark.parametrize(
    ("at_once", "groups", "samples"), [(None, 6, 4), (24, 6, 4), (9, 2, 4), (4, 1, 4), (3, 1, 3), (1, 1, 1)]
)
def test_a_verifier_holds_a_micro_batch(at_once, groups, samples):
    """Of 6 problems with 4 solutions: whole problems, or a part of one."""
    settings = VerifierSettings(batch_problems=6, solutions_per_problem=4, micro_batch_size=at_once)
    found = verifier_texts(settings, LENGTHS, 6, longest=True)
    assert found == Packed.of(groups, 30, samples, 41, 1)
    assert reads_twice(settings) == (at_once in (3, 1))
    peak = verifier_memory("v", settings, shape_of(small(), "verifier"), LENGTHS, gpu("h100"), 1).peak
    whole = verifier_memory(
        "v",
        settings.model_copy(update={"micro_batch_size": None}),
        shape_of(small(), "verifier"),
        LENGTHS,
        gpu("h100"),
        1,
    ).peak
    assert peak == whole if groups * samples == 24 else peak < whole
