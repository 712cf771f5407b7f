"""FlexAttention of packed tokens: nothing but another way to compute the attention group by group."""

from __future__ import annotations

import pytest
import torch

from legibility.models import flat
from legibility.models.flex import BLOCK, flex_tree_attention
from legibility.packing import pack


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("groups", [1, 12])
def test_flex_attention_equals_the_one_by_group(groups, monkeypatch):
    """Its masks and its filling up, with gradients through torch's reference implementation; over one block and over several."""
    import torch.nn.attention.flex_attention as torch_flex

    monkeypatch.setattr(
        torch_flex, "_validate_device", lambda *inputs: None
    )  # it trains on a GPU only; the reference runs anywhere
    prompts = [[5] * (3 + g) for g in range(groups)]
    completions = [[[6] * (1 + (g + j) % 7) for j in range(3)] for g in range(groups)]
    batch = pack(prompts, completions)
    assert (len(batch.ids) > BLOCK) == (groups > 1)
    draw = torch.Generator().manual_seed(0)
    for layer, queries in ((0, len(batch.ids)), (1, len(batch.chosen))):
        inputs = [torch.randn(n, heads, 16, generator=draw, requires_grad=True)
                  for n, heads in ((queries, 4), (len(batch.ids), 2), (len(batch.ids), 2))]  # fmt: skip
        out, gradients = [], []
        for attend in (flat._by_group(batch, torch.float32, 2), flex_tree_attention(batch, 2)):
            out.append(attend(layer, *inputs))
            gradients.append(torch.autograd.grad(out[-1].square().sum(), inputs))
        torch.testing.assert_close(out[0], out[1])
        torch.testing.assert_close(gradients[0], gradients[1])
