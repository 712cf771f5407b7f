"""How every engine picks a token: the distribution function, inverted."""

from __future__ import annotations

import pytest
import torch

from legibility.rollouts.completion import LARGE_VOCABULARY, pick


def test_a_uniform_number_picks_the_token_whose_interval_holds_it():
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(5, 3)
    token, logprob = pick(logits, torch.tensor([0.05, 0.15, 0.29, 0.31, 0.999]), 1.0)
    assert token.tolist() == [0, 1, 1, 2, 2]
    torch.testing.assert_close(logprob.exp(), torch.tensor([0.1, 0.2, 0.2, 0.7, 0.7]))


def test_temperature_sharpens_the_distribution():
    """At 0.5 probabilities 0.2 and 0.8 become 1/17 and 16/17."""
    token, logprob = pick(torch.tensor([[0.2, 0.8]]).log(), torch.tensor([0.1]), 0.5)
    assert token.tolist() == [1] and logprob.exp().item() == pytest.approx(16 / 17)


def test_the_rarest_tokens_of_a_large_vocabulary_can_be_drawn():
    """In float32 the running sum would reach 1 before the last token."""
    size = 8 * LARGE_VOCABULARY
    logits = torch.zeros(1, size)
    token, _ = pick(logits, torch.tensor([1 - 0.5 / size], dtype=torch.float64), 1.0)
    assert token.tolist() == [size - 1]
