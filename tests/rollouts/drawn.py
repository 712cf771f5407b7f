"""What tests of the engines share: a small vocabulary, prompts of it, and ways to look at completions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from legibility.rollouts import Completion
from tests.support import forward_logprobs

ENGINES = ("fast", "hf")  # vllm draws its own random numbers: tests/rollouts/test_vllm.py
END = 1
SMALL = [[5, 2, 3, 4, 5], [2], [5, 0, 3], [3, 3, 3, 3, 3, 3, 3]]


def ids(completions) -> list[list[list[int]]]:
    return [[c.ids for c in group] for group in completions]


def flat(completions) -> list[Completion]:
    return [c for group in completions for c in group]


class Tokens(SimpleNamespace):
    """As much of a tokenizer as sampling asks for."""

    vocab_size = 6

    def __len__(self) -> int:
        return self.vocab_size


def check_logprobs(model, prompts, drawn, temperature=1.0, atol=1e-5):
    """Every completion's log-probs are those of a forward pass of its own."""
    for prompt, group in zip(prompts, drawn, strict=True):
        for completion in group:
            with torch.no_grad():
                expected = forward_logprobs(model, prompt, completion.ids, temperature)
            np.testing.assert_allclose(completion.logprobs, expected.numpy(), atol=atol)
