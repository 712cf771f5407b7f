"""Key-value caches that samples of a prompt share."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.rollouts import sample
from legibility.rollouts.cache import group_width
from tests.rollouts.drawn import ENGINES, SMALL, flat, ids


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
