"""Packed sequences must be nothing but a faster way to compute what one row per completion computes."""

from __future__ import annotations

import copy

import pytest
import torch

from legibility.errors import UserError
from legibility.packing import pack
from tests.support import ARCHITECTURES, forward_logprobs, prover_of, tiny_model
from tests.support import PACKED_COMPLETIONS as COMPLETIONS
from tests.support import PACKED_PROMPTS as PROMPTS

FLAT = [(p, c) for p, group in zip(PROMPTS, COMPLETIONS, strict=True) for c in group]


def packed_logprobs(prover) -> torch.Tensor:
    return prover.hidden_and_logprobs(pack(PROMPTS, COMPLETIONS))[1]


def test_layout_by_hand():
    """One prompt of 2, completions of 3 and 1: tree positions, who sees whom, where each token is predicted."""
    batch = pack([[7, 8]], [[[1, 2, 3], [4]]])
    assert batch.ids.tolist() == [7, 8, 1, 2]  # last tokens predict nothing and take no place
    assert batch.positions.tolist() == [0, 1, 2, 3]
    assert batch.target.tolist() == [1, 2, 3, 4]
    assert batch.chosen.tolist() == [1, 2, 3, 1]
    batch = pack([[9], [7, 8]], [[[6]], [[1, 2], [4, 5]]])
    assert batch.ids.tolist() == [9, 7, 8, 1, 4] and batch.lengths == [1, 4]
    assert batch.positions.tolist() == [0, 0, 1, 2, 2]
    assert batch.chosen.tolist() == [0, 2, 3, 2, 4]
    tree = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    assert (batch.masks(torch.float32)[1][0, 0] == 0).int().tolist() == tree
    rows = batch.padded(torch.float32)
    assert rows.ids.tolist() == [[9, 0, 0, 0], [7, 8, 1, 4]] and rows.place.tolist() == [0, 4, 5, 6, 7]
    assert (rows.mask[1, 0] == 0).int().tolist() == tree


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logprobs_equal_plain_rows(name, byte_tokenizer):
    model = tiny_model(name, byte_tokenizer)
    with torch.no_grad():
        packed = packed_logprobs(prover_of(model, byte_tokenizer))
        plain = torch.cat([forward_logprobs(model, p, c) for p, c in FLAT])
    assert plain.std() > 0.1  # the model tells tokens apart
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_equal_plain_rows(name, byte_tokenizer):
    model = tiny_model(name, byte_tokenizer)
    twin = copy.deepcopy(model)
    weights = torch.randn(sum(len(c) for _, c in FLAT), generator=torch.Generator().manual_seed(0))
    (packed_logprobs(prover_of(model, byte_tokenizer)) * weights).sum().backward()
    (torch.cat([forward_logprobs(twin, p, c) for p, c in FLAT]) * weights).sum().backward()
    for (parameter, mine), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None), parameter
        if mine.grad is not None:
            scale = other.grad.abs().max().item()
            torch.testing.assert_close(
                mine.grad, other.grad, atol=1e-5 * max(1.0, scale), rtol=1e-4, msg=lambda m, n=parameter: f"{n}: {m}"
            )


@pytest.mark.parametrize("name", ["gemma2", "mistral"])
def test_a_window_shorter_than_the_text_is_obeyed_or_refused(name, byte_tokenizer):
    """A tree mask without the window would train on log-probs the model does not have."""
    model = tiny_model(name, byte_tokenizer, sliding_window=3)
    prover = prover_of(model, byte_tokenizer)
    with torch.no_grad():
        plain = torch.cat([forward_logprobs(model, p, c) for p, c in FLAT])
        try:
            packed = packed_logprobs(prover)
        except UserError:
            return
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=1e-5)


def test_reduced_precision_masks_are_finite():
    for dtype in (torch.bfloat16, torch.float16):
        batch = pack(PROMPTS, COMPLETIONS)
        for mask in (batch.padded(dtype).mask, *batch.masks(dtype)):
            assert mask.dtype == dtype and torch.isfinite(mask).all()


def test_chosen_masks_by_hand():
    """The rows of both groups' tree masks that predict a completion token; a prompt's last token once per completion."""
    batch = pack([[9], [7, 8]], [[[6]], [[1, 2], [4, 5]]])
    one, two = [(mask[0, 0] == 0).int().tolist() for mask in batch.chosen_masks(torch.float32)]
    assert one == [[1]]
    assert two == [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 1]]
    rows = batch.padded(torch.float32)
    assert (rows.chosen_mask[1, 0] == 0).int().tolist() == two and rows.chosen_place.tolist() == [0, 4, 5, 6, 7]
