"""The value head: zero at first, saved beside the policy, and apart from it unless told."""

from __future__ import annotations

import pytest
import torch

from legibility.models.value_head import FILE_NAME, ValueHead, critic_of
from tests.support import llama


def test_value_head_starts_at_zero_and_is_saved(tmp_path):
    head = ValueHead(6)
    hidden = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    assert head(hidden).shape == (3, 5) and not head(hidden).any()
    with torch.no_grad():
        head.linear.weight.copy_(torch.arange(6.0)[None])
        head.linear.bias.fill_(2.0)
    head.save(tmp_path)
    assert (tmp_path / FILE_NAME).is_file()
    torch.testing.assert_close(ValueHead(6).load(tmp_path)(hidden), hidden @ torch.arange(6.0) + 2.0)
    with pytest.raises(FileNotFoundError):
        ValueHead(6).load(tmp_path / "nowhere")


@pytest.mark.parametrize("detach", [True, False])
def test_value_head_gradient_reaches_the_policy_only_when_shared(detach):
    head, hidden = ValueHead(4, detach=detach), torch.ones(2, 4, requires_grad=True)
    with torch.no_grad():
        head.linear.weight.fill_(1.0)
    head(hidden).sum().backward()
    assert head.linear.weight.grad is not None
    assert (hidden.grad is None) == detach


@pytest.mark.parametrize("tied", [True, False])
def test_a_critic_learns_all_but_an_output_layer_that_nobody_reads(tiny_tokenizer, tied):
    policy = llama(tiny_tokenizer, tie_word_embeddings=tied)
    critic = critic_of(policy)
    left_out = {name for name, p in critic.named_parameters() if not p.requires_grad}
    assert left_out == (set() if tied else {"lm_head.weight"})
    assert all(p.requires_grad for p in policy.parameters()), "the policy's own is trained as before"
    assert not {id(p) for p in critic.parameters()} & {id(p) for p in policy.parameters()}
