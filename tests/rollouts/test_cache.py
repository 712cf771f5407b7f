"""Key-value caches that samples of a prompt share."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from legibility.rollouts import Completion, sample
from legibility.rollouts.cache import group_width
from tests.support import prover_of, tiny_model

ENGINES = ("fast", "hf")  # vllm draws its own random numbers: tests/rollouts/test_vllm.py
END = 1
SMALL = [[5, 2, 3, 4, 5], [2], [5, 0, 3], [3, 3, 3, 3, 3, 3, 3]]


@pytest.fixture
def small():
    """A prover with six tokens: 0 is also the pad id, 1 ends a completion."""
    tokenizer = SimpleNamespace(eos_token_id=END, pad_token_id=0, chat_template=None)
    model = tiny_model("llama", tokenizer, vocab_size=6, initializer_range=0.1, tie_word_embeddings=False)
    model.generation_config.eos_token_id = END
    return prover_of(model, tokenizer)


def ids(completions) -> list[list[list[int]]]:
    return [[c.ids for c in group] for group in completions]


def flat(completions) -> list[Completion]:
    return [c for group in completions for c in group]


@pytest.mark.parametrize("samples", [1, 2, 5, 7, 8, 10])
def test_samples_that_share_a_cache_are_as_if_alone(small, samples):
    """Rows end at every step here, so groups of every shape lose members, and whole groups leave."""
    prompts = SMALL * 4
    fast, plain = (sample(small, prompts, samples, seed=7, max_new_tokens=40, engine=e) for e in ENGINES)
    assert ids(fast) == ids(plain)
    assert len({len(c.ids) for c in flat(fast)}) > min(8, samples)
    for one, other in zip(flat(fast), flat(plain), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "limit", "width"),
    [(1, 72, 1), (4, 72, 4), (6, 72, 3), (7, 72, 1), (8, 72, 4), (10, 160, 5), (16, 72, 4), (4, 161, 2), (5, 400, 1)],
)
def test_group_width(samples, limit, width):
    assert group_width(samples, limit) == width
