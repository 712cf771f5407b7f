"""FLOPs, bytes and calls, against what torch counts in this package's own passes, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from legibility.models.flat import packed_hidden
from legibility.models.logprobs import KEEP_ELEMENTS, token_logprobs
from legibility.packing import pack
from legibility.planning.devices import gpu
from legibility.planning.shapes import shape_of
from legibility.planning.work import Packed, Work, adam, backward, decode, forward, logprobs, seconds, streams
from legibility.player_settings import LoraSettings
from legibility.rollouts.cache import group_width
from legibility.rollouts.fast import sample_fast
from tests.planning.counting import Traffic, kept_for_backward, products
from tests.planning.models import small
from tests.support import llama, prover_of

KINDS = [("float32", 0), ("bfloat16", 0), ("float32", 8), ("bfloat16", 8)]
TEXTS = pack([list(range(1, 41))] * 2, [[[5] * 20] * 4] * 2)
PACKED = Packed.of(2, 40, 4, 20)


def everything(work: Work) -> float:
    """FLOPs of all products, attention's too."""
    return work.flops + work.scores + work.stepping


def counted(dtype: str, rank: int):
    """A small model, the model that computes, and its shape."""
    model = small(getattr(torch, dtype), rank)
    causal = model.get_base_model() if rank else model
    return model, causal, shape_of(small(), "prover", LoraSettings(r=rank) if rank else None)


def test_packed_texts_are_counted_as_they_are_packed():
    assert (PACKED.tokens, PACKED.chosen) == (len(TEXTS.ids), len(TEXTS.chosen)) == (2 * (40 + 4 * 19), 160)
    assert PACKED.scores(3) == 2 * 116 * (2 * 116 + 80)


@pytest.mark.parametrize(("dtype", "rank"), KINDS[::2])
def test_products_are_those_that_torch_counts(dtype, rank):
    _, causal, shape = counted(dtype, rank)
    with torch.no_grad(), products() as there:
        packed_hidden(causal, TEXTS)
    assert everything(forward(shape, PACKED, dtype)) == pytest.approx(
        there.get_total_flops(), rel=0.02 if rank else 1e-3
    )
    with products() as both:
        packed_hidden(causal, TEXTS).sum().backward()
    wanted = both.get_total_flops() - there.get_total_flops()
    # with adapters the first of these three layers needs no gradient of what it reads
    assert everything(backward(shape, PACKED, dtype)) == pytest.approx(wanted, rel=0.08 if rank else 1e-3)
    again = backward(shape, PACKED, dtype, recompute=True).flops
    assert again - backward(shape, PACKED, dtype).flops == forward(shape, PACKED, dtype).flops


@pytest.mark.parametrize(("dtype", "rank"), KINDS)
def test_what_moves_starts_and_is_kept_is_what_torch_moves_starts_and_keeps(dtype, rank):
    """The other half of the test of the constants: another model than they were fitted to, a whole pass."""
    model, causal, shape = counted(dtype, rank)
    packed_hidden(causal, TEXTS)
    with Traffic() as there, kept_for_backward(model) as kept:
        out = packed_hidden(causal, TEXTS)
    with Traffic() as back:
        out.float().sum().backward()
    made, gradients = forward(shape, PACKED, dtype), backward(shape, PACKED, dtype)
    assert made.traffic == pytest.approx(there.bytes, rel=0.25) and made.calls == pytest.approx(there.calls, rel=0.35)
    assert gradients.traffic == pytest.approx(back.bytes, rel=0.25)
    assert gradients.calls == pytest.approx(back.calls, rel=0.35)
    layer = streams(dtype, rank > 0).kept.of(shape) * PACKED.tokens
    assert layer * (2 + PACKED.chosen / PACKED.tokens) == pytest.approx(kept.bytes, rel=0.25)


@pytest.mark.parametrize("train", [False, True])
def test_log_probs_are_counted(train):
    shape = shape_of(small(), "prover")
    hidden = torch.randn(2000, 128, requires_grad=train)
    weight = torch.randn(300, 128, requires_grad=train)
    target = torch.zeros(2000, dtype=torch.long)
    with products() as flops, Traffic() as moved:
        out = token_logprobs(hidden, weight, target)
        if train:
            out.sum().backward()
    work = logprobs(shape, 2000, "float32", "cpu", train=train)
    assert work.flops == flops.get_total_flops() == (3 if train else 1) * 2 * 2000 * 300 * 128
    # gather and scatter are handed whole tensors and touch a number a row
    assert work.traffic == pytest.approx(moved.bytes, rel=0.45)
    many = KEEP_ELEMENTS["cpu"] // 300 + 1
    once, twice = (logprobs(shape, n, "float32", "cpu", train=True).flops / n for n in (50, many))
    assert twice == pytest.approx(once * 4 / 3), "logits that are not kept are made again"


def test_decoding_is_counted(tiny_tokenizer):
    model = llama(tiny_tokenizer, hidden=64, layers=2)
    prover, rows, limit = prover_of(model, tiny_tokenizer), 8, 24
    prompts = [[5] * 30] * 2
    with torch.no_grad(), products() as flops:
        drawn = sample_fast(prover, prompts, 4, np.full((rows, limit), 0.5), 1.0)
    assert all(len(c.ids) == limit for c in drawn), "these rows all go on to the end"
    work = decode(
        shape_of(model, "prover"), rows=rows, prompts=2, prompt=30, answer=limit, steps=limit, dtype="float32",
        shared=group_width(4, limit),
    )  # fmt: skip
    assert everything(work) == pytest.approx(flops.get_total_flops(), rel=0.06)


def test_an_optimizer_step_by_hand():
    assert adam(1000, "float32", fused=True).traffic == 1000 * 4 * (7 + 3)
    assert adam(1000, "bfloat16", fused=True, clipped=False).traffic == 1000 * 2 * 7


def test_seconds_are_products_then_traffic_then_calls():
    device = replace(gpu("h100"), float32=10, attention_share=0.5, bandwidth=8, bandwidth_share=0.5, call_seconds=0.1)
    assert seconds(Work(10, 5, 20, 30), device, 0.5, "float32") == pytest.approx((2 + 2, 5, 3))
    assert seconds(Work(stepping=5), replace(device, stepping_share=0.25), 0.5, "float32")[0] == pytest.approx(4)
    assert (Work(1, 2, 3, 4, 5) + Work(1, 1, 1, 1, 1)).times(2) == Work(4, 6, 8, 10, 12)
