"""A grown model is the same function."""

from __future__ import annotations

import pytest
import torch
from harness.grow import grow

from tests.support import llama


def test_grown_model_computes_the_same(tiny_tokenizer):
    small = llama(tiny_tokenizer, head_dim=16)
    large = grow(small, 64, 3)
    ids = torch.arange(5, 17)[None]
    with torch.no_grad():
        assert torch.allclose(small(input_ids=ids).logits, large(input_ids=ids).logits, atol=1e-4)
    assert sum(p.numel() for p in large.parameters()) > 4 * sum(p.numel() for p in small.parameters())
    with pytest.raises(ValueError, match="cannot grow"):
        grow(small, 16, 3)
