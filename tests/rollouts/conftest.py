"""A prover small enough that every token comes up."""

from __future__ import annotations

import pytest

from tests.rollouts.drawn import END, Tokens
from tests.support import prover_of, tiny_model


@pytest.fixture
def small():
    """A prover with six tokens: 0 is also the pad id, 1 ends a completion."""
    tokenizer = Tokens(eos_token_id=END, pad_token_id=0, chat_template=None)
    model = tiny_model("llama", tokenizer, vocab_size=6, initializer_range=0.1, tie_word_embeddings=False)
    model.generation_config.eos_token_id = END
    return prover_of(model, tokenizer)
