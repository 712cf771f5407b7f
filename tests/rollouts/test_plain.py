"""The engine without a cache draws what the others draw."""

from __future__ import annotations

import numpy as np

from legibility.randomness import uniforms
from legibility.rollouts.fast import sample_fast
from legibility.rollouts.plain import sample_plain
from tests.rollouts.drawn import SMALL


def test_it_draws_what_the_fast_engine_draws(small):
    noise = uniforms(5, np.arange(len(SMALL) * 6), 15)
    fast, plain = (draw(small, SMALL, 6, noise, 0.8) for draw in (sample_fast, sample_plain))
    assert [c.ids for c in plain] == [c.ids for c in fast]
    assert [c.truncated for c in plain] == [c.truncated for c in fast] and {c.truncated for c in fast} == {True, False}
    for one, other in zip(plain, fast, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
