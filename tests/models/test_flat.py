"""The forward pass over real tokens only: its attention, and which models it covers."""

from __future__ import annotations

import pytest
import torch

from legibility.models import flat, flex
from legibility.packing import pack
from tests.support import ARCHITECTURES, PACKED_COMPLETIONS, PACKED_PROMPTS, tiny_model

FLAT_FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_llama_family_is_covered_and_nothing_else(name, byte_tokenizer):
    decoder = flat.flat_decoder(tiny_model(name, byte_tokenizer))
    assert (decoder is not None) == (name in FLAT_FAMILIES)


def test_a_model_with_a_window_is_not_covered(byte_tokenizer):
    assert flat.flat_decoder(tiny_model("mistral", byte_tokenizer, sliding_window=8)) is None


@pytest.mark.parametrize("name", sorted(FLAT_FAMILIES))
def test_hidden_states_are_those_of_transformers(name, byte_tokenizer):
    """Of all tokens of one row, and of chosen ones alone."""
    model = tiny_model(name, byte_tokenizer)
    ids = torch.tensor([5, 6, 7, 8, 9, 20])
    batch = pack([ids[:1].tolist()], [[[*ids[1:].tolist(), 0]]])
    decoder = flat.flat_decoder(model)
    expected = model.model(input_ids=ids[None]).last_hidden_state[0]
    arguments = (batch.ids, decoder.rotary(batch.positions), decoder.attention(batch))
    torch.testing.assert_close(decoder.forward(*arguments, batch.chosen), expected)
    chosen = torch.tensor([1, 4])
    mask = torch.full((6, 6), torch.finfo(torch.float32).min).triu(1)

    def attend(layer, q, k, v):
        rows = mask[chosen] if layer == decoder.layers - 1 else mask
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        return flat.sdpa(q, k, v, rows[None, None])[0].transpose(0, 1).flatten(1)

    torch.testing.assert_close(decoder.forward(ids, decoder.rotary(torch.arange(6)), attend, chosen), expected[chosen])


def test_a_quarter_turn_by_hand():
    """Rotary embedding in the half-split layout: (a, b) becomes (-b, a) at 90 degrees, also back in the gradient."""
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], requires_grad=True)
    cos, sin = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    turned = flat.rotate(x, cos, sin)
    assert turned.tolist() == [[[-3.0, -4.0, 1.0, 2.0]]]
    turned.backward(torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
    assert x.grad.tolist() == [[[0.0, 0.0, -1.0, 0.0]]]
    with torch.no_grad():
        assert flat.rotate(x, cos, sin).tolist() == turned.tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_padded_attention_equals_the_one_by_group(dtype):
    """What a GPU runs, with gradients: all places, and the chosen places of the last layer."""
    batch = pack(PACKED_PROMPTS, PACKED_COMPLETIONS)
    draw = torch.Generator().manual_seed(0)
    assert batch.counts == [sum(map(len, group)) for group in PACKED_COMPLETIONS]
    for layer, queries in ((0, len(batch.ids)), (1, len(batch.chosen))):
        inputs = [torch.randn(n, heads, 8, generator=draw, dtype=dtype, requires_grad=True)
                  for n, heads in ((queries, 4), (len(batch.ids), 2), (len(batch.ids), 2))]  # fmt: skip
        out, gradients = [], []
        for kind in (flat._by_group, flat._at_once):
            out.append(kind(batch, dtype, 2)(layer, *inputs))
            gradients.append(torch.autograd.grad(out[-1].square().sum(), inputs))
        torch.testing.assert_close(out[0], out[1])
        torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("device", "implementation", "chosen"),
    [
        ("cpu", "flex_attention", "_by_group"),
        ("cpu", "sdpa", "_by_group"),
        ("meta", "sdpa", "_at_once"),
        ("meta", "flex_attention", "flex"),
    ],
)
def test_which_attention_runs_where(device, implementation, chosen, byte_tokenizer, monkeypatch):
    """The meta device stands in for a GPU."""
    decoder = flat.flat_decoder(tiny_model("llama", byte_tokenizer))
    decoder.decoder.config._attn_implementation = implementation
    for name in ("_by_group", "_at_once"):
        monkeypatch.setattr(flat, name, lambda *_, name=name: name)
    monkeypatch.setattr(flex, "flex_tree_attention", lambda *_: "flex")
    assert decoder.attention(pack(PACKED_PROMPTS, PACKED_COMPLETIONS).to(device)) == chosen
