"""The real model of `scripts/fetch_assets.py`, where it has been fetched: `pytest -m real`."""

from __future__ import annotations

import json

import pytest
import torch

from tests.support import ROOT

ASSETS = ROOT / "assets"
MODEL = ASSETS / "smollm2-135m-instruct"
CUT = ASSETS / "smollm2-6-layers"

pytestmark = [pytest.mark.real, pytest.mark.skipif(not MODEL.is_dir(), reason="run scripts/fetch_assets.py first")]


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


def test_chat_template_and_tokenizer(tokenizer):
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2 + 3?"}], tokenize=False, add_generation_prompt=True
    )
    assert text.startswith("<|im_start|>system") and text.endswith("<|im_start|>assistant\n")
    assert tokenizer.eos_token == "<|im_end|>"
    for text in ("Question: 48/2 = $24.50\nAnswer: 1,200  per   7 days", "é × ½  12"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    digits = tokenizer.convert_ids_to_tokens(tokenizer("1234")["input_ids"])
    assert digits == list("1234")


def test_round_trip_is_exact(model, tmp_path):
    from transformers import AutoModelForCausalLM

    assert 134_000_000 < model.num_parameters() < 135_000_000
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.tensor([[17872, 42, 216, 36, 40]])
    with torch.no_grad():
        assert (model(ids).logits - again(ids).logits).abs().max() == 0
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.skipif(not CUT.is_dir(), reason="run scripts/fetch_assets.py first")
def test_truncated_model_is_the_first_layers(model):
    from transformers import AutoModelForCausalLM

    cut = AutoModelForCausalLM.from_pretrained(CUT, dtype=torch.float32)
    assert cut.config.num_hidden_layers == 6
    weights = model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in cut.state_dict().items())


@pytest.mark.skipif(not (ASSETS / "gsm8k").is_dir(), reason="run scripts/fetch_assets.py first")
def test_gsm8k_rows():
    for name, count in (("train", 7473), ("test", 1319)):
        with open(ASSETS / "gsm8k" / f"{name}.jsonl", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        assert len(rows) == count and all(row.keys() == {"question", "answer"} for row in rows)
        assert all("\n#### " in row["answer"] for row in rows)
