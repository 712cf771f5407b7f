"""LoRA folders as models: what they were tuned to is where a game starts, for the prover and the verifier."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.packing import pack
from legibility.player_settings import LoraSettings
from tests.support import PEN_TEXTS, PENS

BATCH = pack([[5, 6, 7]], [[[8, 9, 10], [11]]])


def adapter(base, out, kind=AutoModelForCausalLM, task="CAUSAL_LM", name_base=None, **more):
    """A LoRA folder whose matrices are random, so that it changes the model; and the tuned model itself."""
    torch.manual_seed(1)
    plain = kind.from_pretrained(base, **more)
    tuned = get_peft_model(plain, LoraConfig(r=4, target_modules="all-linear", task_type=task, init_lora_weights=False))
    tuned.save_pretrained(out)
    if name_base is not None:
        facts = json.loads((out / "adapter_config.json").read_text())
        (out / "adapter_config.json").write_text(json.dumps({**facts, "base_model_name_or_path": name_base}))
    return tuned.eval()


def logprobs(prover):
    with torch.no_grad():
        return prover.hidden_and_logprobs(BATCH)[1]


@pytest.mark.parametrize("lora", [None, LoraSettings(r=2, alpha=4)])
def test_a_prover_starts_from_the_tuned_weights(lora, tiny_prover_dir, tmp_path):
    """With fresh adapters and without; start and reference are the tuned model, not the raw base."""
    tuned = adapter(tiny_prover_dir, tmp_path / "adapter")
    prover = Prover.load(ProverSettings(model=str(tmp_path / "adapter"), lora=lora), "cpu")
    with torch.no_grad():
        logits = tuned(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits[0, 2:]
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor([[8], [9], [10]]))[:, 0]
    for found in (prover, prover.frozen_copy()):
        torch.testing.assert_close(logprobs(found)[:3], expected, atol=1e-5, rtol=1e-5)
    raw = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
    assert (logprobs(raw)[:3] - expected).abs().max() > 0.1
    prover.save(tmp_path / "saved")
    again = Prover.load(
        ProverSettings(model=str(tmp_path / "adapter"), lora=lora), "cpu", source=str(tmp_path / "saved")
    )
    torch.testing.assert_close(logprobs(again), logprobs(prover), atol=1e-5, rtol=1e-5)


def test_its_tokenizer_is_the_bases_where_it_has_none(tiny_prover_dir, tmp_path):
    adapter(tiny_prover_dir, tmp_path / "bare")
    adapter(tiny_prover_dir, tmp_path / "whole")
    AutoTokenizer.from_pretrained(tiny_prover_dir).save_pretrained(tmp_path / "whole")
    bare, whole = (Prover.load(ProverSettings(model=str(tmp_path / n)), "cpu") for n in ("bare", "whole"))
    assert bare.prompt_ids(PENS[0], "helpful") == whole.prompt_ids(PENS[0], "helpful")


def test_a_base_beside_the_adapter_is_found(tiny_prover_dir, tmp_path):
    adapter(tiny_prover_dir, tmp_path / "adapter", name_base="../base")
    with pytest.raises(UserError, match=r"^prover\.model: no folder|^prover\.model: cannot load"):
        Prover.load(ProverSettings(model=str(tmp_path / "adapter")), "cpu")
    shutil.copytree(tiny_prover_dir, tmp_path / "base")
    Prover.load(ProverSettings(model=str(tmp_path / "adapter")), "cpu")


@pytest.mark.parametrize("score", ["last_token", "likelihood"])
def test_a_verifier_starts_from_a_causal_adapter(score, tiny_verifier_dir, tmp_path):
    adapter(tiny_verifier_dir, tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(tiny_verifier_dir).save_pretrained(tmp_path / "merged")
    found, expected, raw = (
        Verifier.load(VerifierSettings(model=str(place), score=score), "cpu", seed=3).score(PENS, PEN_TEXTS)
        for place in (tmp_path / "adapter", tmp_path / "merged", tiny_verifier_dir)
    )
    assert found == pytest.approx(expected, abs=1e-4) and abs(found - raw).max() > 1e-2


def test_a_reward_adapter_brings_its_head(tiny_verifier_dir, tmp_path):
    tuned = adapter(
        tiny_verifier_dir, tmp_path / "adapter", AutoModelForSequenceClassification, "SEQ_CLS", num_labels=1
    )
    verifier = Verifier.load(VerifierSettings(model=str(tmp_path / "adapter")), "cpu")
    for problem, text, found in zip(PENS, PEN_TEXTS, verifier.score(PENS, PEN_TEXTS), strict=True):
        (ids,) = verifier.encode([problem], [text])
        with torch.no_grad():
            assert tuned(input_ids=torch.tensor([ids])).logits.item() == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize("base", [None, "", 3])
def test_an_adapter_without_a_base_is_one_line(base, tiny_prover_dir, tmp_path):
    adapter(tiny_prover_dir, tmp_path, name_base=base or "")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": base}))
    with pytest.raises(UserError, match="does not name the model it adapts"):
        Prover.load(ProverSettings(model=str(tmp_path)), "cpu")


def test_prefixes_cannot_be_merged(tiny_prover_dir, tmp_path):
    plain = AutoModelForCausalLM.from_pretrained(tiny_prover_dir)
    get_peft_model(plain, PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^prover\.model: the adapter .*PREFIX_TUNING.* cannot be merged"):
        Prover.load(ProverSettings(model=str(tmp_path)), "cpu")


def test_an_adapter_of_another_model_is_one_line(tiny_prover_dir, tiny_verifier_dir, tmp_path):
    adapter(tiny_prover_dir, tmp_path, name_base=str(tiny_verifier_dir))
    with pytest.raises(UserError, match=r"^prover\.model: "):
        Prover.load(ProverSettings(model=str(tmp_path)), "cpu")


def test_an_adapter_of_a_deeper_model_is_one_line(tiny_prover_dir, tmp_path):
    """Its matrices for layers that the base has not would be left out without a word."""
    adapter(tiny_prover_dir, tmp_path / "adapter")
    shutil.copytree(tiny_prover_dir, tmp_path / "shallow")
    shallow = AutoModelForCausalLM.from_pretrained(tiny_prover_dir, num_hidden_layers=1)
    shallow.save_pretrained(tmp_path / "shallow")
    facts = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    facts["base_model_name_or_path"] = str(tmp_path / "shallow")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(facts))
    with pytest.raises(
        UserError, match=r"^prover\.model: the adapter in .* has 14 weights that .*shallow has no place"
    ):
        Prover.load(ProverSettings(model=str(tmp_path / "adapter")), "cpu")


def test_a_rank_beyond_the_models_width_is_one_line(tiny_prover_dir):
    with pytest.raises(UserError, match=r"^prover\.lora\.r: 100000 is beyond the \d+ that the model is wide"):
        Prover.load(ProverSettings(model=str(tiny_prover_dir), lora=LoraSettings(r=100_000, alpha=4)), "cpu")


def test_an_adapter_trained_on_an_adapter_names_it(tiny_prover_dir, tmp_path):
    """What a game with fresh adapters saves is found on the tuned weights again, not on the raw base."""
    adapter(tiny_prover_dir, tmp_path / "tuned")
    AutoTokenizer.from_pretrained(tiny_prover_dir).save_pretrained(tmp_path / "tuned")
    settings = ProverSettings(model=str(tmp_path / "tuned"), lora=LoraSettings(r=2, alpha=4))
    prover = Prover.load(settings, "cpu")
    with torch.no_grad():
        for name, weight in prover.model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    prover.save(tmp_path / "saved")
    alone = Prover.load(ProverSettings(model=str(tmp_path / "saved")), "cpu")
    torch.testing.assert_close(logprobs(alone), logprobs(prover), atol=1e-5, rtol=1e-5)
    verifiers = [
        Verifier.load(VerifierSettings(model=str(tmp_path / place)), "cpu", seed=3).score(PENS, PEN_TEXTS)
        for place in ("saved", "tuned")
    ]
    assert abs(verifiers[0] - verifiers[1]).max() > 1e-2


@pytest.mark.parametrize("length", [1, 2])
def test_adapters_that_adapt_each_other(length, tiny_prover_dir, tmp_path):
    folders = [tmp_path / str(k) for k in range(length)]
    for k, folder in enumerate(folders):
        adapter(tiny_prover_dir, folder, name_base=str(folders[(k + 1) % length]))
        (folder / "tokenizer_config.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"^prover\.model: the adapter in .* adapts itself"):
        Prover.load(ProverSettings(model=str(folders[0])), "cpu")
