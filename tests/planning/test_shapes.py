"""Sizes of models, against what torch and peft count."""

from __future__ import annotations

import pytest
from transformers import AutoModelForSequenceClassification, GPT2Config

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.planning.shapes import prover_shape, shape_of, verifier_shape
from legibility.player_settings import LoraSettings
from tests.planning.models import qwen_folder, small


@pytest.mark.parametrize(
    ("size", "parameters"), [("0.5B", 494_032_768), ("1.5B", 1_543_714_304), ("7B", 7_615_616_512)]
)
def test_published_models_have_their_published_sizes_from_config_json_alone(size, parameters, tmp_path):
    folder = qwen_folder(size, tmp_path)
    assert [p.name for p in folder.iterdir()] == ["config.json"]
    shape = prover_shape(ProverSettings(model=str(folder)))
    assert shape.parameters == parameters and shape.adapters == 0


def test_the_weights_of_a_qwen_by_hand():
    shape = shape_of(small(), "prover")
    attention, mlp = 128 * 128 * 2 + 128 * 64 * 2, 3 * 128 * 320
    assert shape.linear == 3 * (attention + mlp)
    assert shape.last_linear == 128 * 128 * 2 + mlp, "all but keys and values"
    norms, biases = 128 * (2 * 3 + 1), 3 * (128 + 64 + 64)
    assert shape.parameters == shape.linear + norms + biases + 300 * 128 == sum(p.numel() for p in small().parameters())
    assert (shape.query, shape.key, shape.intermediate, shape.vocabulary) == (128, 64, 320, 300)


@pytest.mark.parametrize("modules", ["all-linear", ["q_proj", "v_proj"]])
def test_adapters_are_those_of_peft(modules):
    from peft import LoraConfig, get_peft_model

    shape = shape_of(small(), "prover", LoraSettings(r=4, target_modules=modules))
    model = get_peft_model(small(), LoraConfig(r=4, target_modules=modules, task_type="CAUSAL_LM"))
    assert shape.adapters == shape.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_a_verifier_has_no_output_layer_and_the_layers_that_are_kept(tmp_path):
    folder = qwen_folder("0.5B", tmp_path)
    whole, half = (verifier_shape(VerifierSettings(model=str(folder), layers=n)) for n in (None, 12))
    assert whole.vocabulary == 0 and half.linear == whole.linear / 2 and half.layers == 12
    config = small().config
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config)
    assert shape_of(model, "verifier").parameters == sum(p.numel() for p in model.parameters())
    assert verifier_shape(VerifierSettings(model=str(folder), score="likelihood")).vocabulary == 151936


def test_other_families_are_counted_and_mixtures_of_experts_refused(tmp_path):
    GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=100).save_pretrained(tmp_path / "gpt2")
    shape = prover_shape(ProverSettings(model=str(tmp_path / "gpt2")))
    assert (shape.layers, shape.linear, shape.intermediate) == (2, 2 * 12 * 32 * 32, 128)
    from transformers import MixtralConfig

    MixtralConfig(num_hidden_layers=1, hidden_size=32, intermediate_size=32, num_attention_heads=2).save_pretrained(
        tmp_path / "moe"
    )
    with pytest.raises(UserError, match=r"prover\.model: mixtures of experts"):
        prover_shape(ProverSettings(model=str(tmp_path / "moe")))


def test_a_hub_id_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"prover\.model: cannot load 'Qwen/none-such'"):
        prover_shape(ProverSettings(model="Qwen/none-such"))
