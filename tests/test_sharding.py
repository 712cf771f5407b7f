"""Networks that two gloo ranks hold in parts, against whole ones in one process (`tests/sharded_checks.py`)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from legibility.sharding import clip_gradients, gathered, held_bytes, hollow, is_sharded, parameter_groups, through
from tests.support import ROOT, llama
from tests.test_launched_team import output, torchrun


@pytest.mark.parametrize("which", ["few", pytest.param("more", marks=pytest.mark.slow)])
def test_parts_are_as_good_as_the_whole(which, tmp_path):
    process = torchrun(2, "-m", "tests.sharded_checks", which, tmp_path, folder=ROOT)
    said = output(process, timeout=600)
    assert "all well" in said and process.returncode == 0, said


def test_a_hollow_network_keeps_ties_and_buffers(tiny_tokenizer):
    model = llama(tiny_tokenizer)
    empty = hollow(model)
    assert all(p.is_meta for p in empty.parameters()) and not any(p.is_meta for p in model.parameters())
    assert empty.lm_head.weight is empty.model.embed_tokens.weight
    assert torch.equal(empty.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    assert hollow(llama(tiny_tokenizer, tie_word_embeddings=False)).lm_head.weight.is_meta


def test_whole_networks_are_left_alone():
    layer = nn.Linear(3, 2)
    assert not is_sharded(layer) and through(layer, layer, torch.ones(3)).shape == (2,)
    with gathered(layer):
        assert held_bytes([*layer.parameters(), layer.weight]) == 4 * (6 + 2), "each counts once"
    (group,) = parameter_groups(list(layer.parameters()), lr=0.5)
    assert group["lr"] == 0.5 and len(group["params"]) == 2


def test_clipping_by_hand():
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    one.grad, other.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients([one, other], 1.0) == pytest.approx(5.0)
    assert one.grad.item() == pytest.approx(0.6, abs=1e-5) and other.grad.item() == pytest.approx(0.8, abs=1e-5)
