"""What the fast engine cannot run falls back and says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legibility.rollouts import sample
from legibility.rollouts.choice import engine_notice, usable_engine
from tests.support import forward_logprobs, prover_of, tiny_model

PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 0, 12], [3, 3, 3, 3, 3, 3, 3]]


@pytest.mark.parametrize(("window", "engine"), [(4, "even"), (64, "hf")])
@pytest.mark.parametrize("name", ["gemma2", "mistral"])
def test_models_with_windows_fall_back_and_say_so(name, window, engine, byte_tokenizer):
    model = tiny_model(name, byte_tokenizer, sliding_window=window)
    prover = prover_of(model, byte_tokenizer)
    assert usable_engine(prover, "fast") == engine
    assert "transformers' own generation" in engine_notice(prover, "fast", engine)
    drawn = sample(prover, PROMPTS, 2, seed=0, max_new_tokens=6)
    completion = drawn[3][0]
    with torch.no_grad():
        np.testing.assert_allclose(
            completion.logprobs, forward_logprobs(model, PROMPTS[3], completion.ids).numpy(), atol=1e-4
        )
