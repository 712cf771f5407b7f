"""The plain engine around `generate`: where completions end, and what it leaves as it was."""

from __future__ import annotations

import numpy as np
import torch

from legibility.rollouts.hf import sample_hf
from tests.rollouts.drawn import END, SMALL


def test_a_completion_ends_at_its_end_token_or_is_cut_off(small):
    limit = 12
    drawn = sample_hf(small, SMALL, 4, np.random.default_rng(0).uniform(size=(16, limit)), 1.0)
    assert len(drawn) == 16 and {c.truncated for c in drawn} == {True, False}
    for completion in drawn:
        assert len(completion.ids) == len(completion.logprobs) <= limit
        assert (completion.ids[-1] == END) != completion.truncated and END not in completion.ids[:-1]
        assert (len(completion.ids) == limit) or not completion.truncated


def test_random_numbers_decide_each_token(small):
    """The token is the one whose interval of the distribution function holds the number."""
    noise = np.array([[0.37, 0.81, 0.02]])
    (completion,) = sample_hf(small, [SMALL[0]], 1, noise, 1.0)
    text = list(SMALL[0])
    for token, uniform in zip(completion.ids, noise[0], strict=False):
        with torch.no_grad():
            cumulative = small.model(input_ids=torch.tensor([text])).logits[0, -1].softmax(-1).cumsum(-1)
        assert token == int((cumulative < uniform).sum())
        text.append(token)


def test_the_models_own_generation_settings_come_back(small):
    own = small.causal.generation_config
    own.temperature = 0.3
    sample_hf(small, SMALL[:1], 1, np.full((1, 2), 0.5), 1.0)
    assert small.causal.generation_config is own and own.temperature == 0.3
