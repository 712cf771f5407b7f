"""How every engine picks a token: the distribution function, inverted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legibility.rollouts.completion import LARGE_VOCABULARY, Completion, Stretch, cut, pick


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


ENDS = np.array([False, False, True, False])  # token 2 ends a unit; token 3 a text


@pytest.mark.parametrize(
    ("limit", "units", "ids"),
    [
        (9, 1, [0, 2]),
        (9, 2, [0, 2, 1, 2]),
        (3, 2, [0, 2, 1]),
        (9, 3, [0, 2, 1, 2, 0, 3]),  # it ended before
    ],
)
def test_a_stretch_ends_behind_its_units_at_its_limit_or_with_the_text(limit, units, ids):
    drawn = Completion([0, 2, 1, 2, 0, 3], [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], False, [0.1] * 6)
    found = cut(drawn, Stretch(0, 0, limit, units), ENDS, {3})
    assert found.ids == ids and len(found.logprobs) == len(found.values) == len(ids)
    assert found.truncated == (ids[-1] != 3)


def test_own_tokens_of_a_completion():
    whole = Completion([5, 6, 7], [-1.0, -2.0, -3.0], False)
    shared = Completion([5, 6, 7], [-1.0, 0.0, -3.0], False, own=[True, False, True])
    assert whole.own_count == 3 and whole.of_own([1, 2, 3]) == [1, 2, 3]
    assert shared.own_count == 2 and shared.of_own(shared.logprobs) == [-1.0, -3.0]
