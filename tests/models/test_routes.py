"""Which architectures share prompts without a check, and what a window or a rotary scaling changes."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    DeepseekV4Config,
    Gemma3TextConfig,
    GPTNeoConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
)

from legibility.errors import UserError
from legibility.models import flat
from legibility.models.routes import LISTED, Route, attention_window, check_length, is_listed, may_share
from legibility.packing import pack
from tests.support import PACKED_COMPLETIONS, PACKED_PROMPTS, prover_of, script, tiny_model

families = script("model_families")


def test_listed_are_attention_models_with_wide_windows():
    assert is_listed(LlamaConfig()) and is_listed(Qwen2Config()) and is_listed(MistralConfig(sliding_window=4096))
    assert not is_listed(MistralConfig(sliding_window=8)) and not is_listed(GPTNeoConfig())
    assert not is_listed(LlamaConfig(is_causal=False))


def test_every_listed_architecture_stands_in_the_table_of_families():
    assert {kind for kind, _ in families.FAMILIES.values()} >= LISTED


@pytest.mark.parametrize(
    "name", [name for name, (kind, more) in families.FAMILIES.items() if kind in LISTED and more.get("sliding_window")]
)
def test_listed_models_share_prompts_inside_their_windows(name, tmp_path, monkeypatch):
    """Texts shorter than a window of 64, whose packed group is longer than it: sharing against rows."""
    kind, changes = families.FAMILIES[name]
    monkeypatch.setitem(families.FAMILIES, name, (kind, {**changes, "sliding_window": 64}))
    families.save_family(name, tmp_path)
    row = families.prover_row(tmp_path)
    assert row.reading is Route.SHARED and row.engine == "hf" and row.right, row


def test_places_that_a_layer_looks_back_are_no_positions():
    """GPT-Neo counts places of the tensor, which a short check would not notice."""
    assert attention_window(GPTNeoConfig()) is None
    assert not may_share(GPTNeoConfig(window_size=256)) and may_share(LlamaConfig())
    assert may_share(MistralConfig(sliding_window=128))
    assert may_share(Gemma3TextConfig())
    joined = DeepseekV4Config(sliding_window=128)  # beside a window that is long enough, 128 tokens become one
    assert joined.compress_rates and not may_share(joined)


@pytest.mark.parametrize("route", [Route.ROWS, Route.ALONE])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_every_route_gives_the_same_hidden_states_and_gradients(name, route, byte_tokenizer):
    prover = prover_of(tiny_model(name, byte_tokenizer), byte_tokenizer)
    batch = pack(PACKED_PROMPTS, PACKED_COMPLETIONS)
    weight = prover.causal.get_input_embeddings().weight
    shared = flat.packed_hidden(prover.causal, batch)
    other = flat.packed_hidden(prover.causal, batch, route=route)
    torch.testing.assert_close(other, shared, atol=1e-4, rtol=1e-4)
    one, two = (torch.autograd.grad(x.square().sum(), weight)[0] for x in (shared, other))
    torch.testing.assert_close(two, one, atol=1e-3, rtol=1e-4)


def test_a_text_beyond_the_window_is_read_in_rows(byte_tokenizer):
    """The tree mask knows no windows; in rows the model's own mask holds, whatever the window."""
    prompts, completions = [[5] * 40], [[list(range(20, 70)), [7, 8]]]
    batch = pack(prompts, completions)
    model = tiny_model("mistral", byte_tokenizer, sliding_window=64)
    hidden = flat.packed_hidden(model, batch)
    alone = model.model(input_ids=torch.tensor([prompts[0] + completions[0][0]])).last_hidden_state[0, 39:-1]
    torch.testing.assert_close(hidden[:50], alone, atol=1e-4, rtol=1e-4)


def test_texts_that_would_turn_all_positions_are_refused():
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    config = LlamaConfig(max_position_embeddings=16, rope_parameters=rope)
    check_length(config, torch.arange(16), "prover")
    with pytest.raises(UserError, match=r"^prover\.model: beyond 16 tokens .* 17"):
        check_length(config, torch.arange(17), "prover")
    check_length(Phi3Config(), torch.arange(10_000), "prover")  # no scaling, no limit
