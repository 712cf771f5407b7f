"""A model checked at load: right, slower and right, or refused. The families are those of the docs' table."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from legibility.config import ProverSettings, VerifierSettings
from legibility.errors import UserError
from legibility.models import self_check
from legibility.models.own_pooling import Padding, ScoreReading
from legibility.models.prover import Prover
from legibility.models.routes import LISTED, Route
from legibility.models.verifier import Verifier
from tests.support import PEN_TEXTS, PENS, prover_of, script, tiny_model

families = script("model_families")
SHARED = {
    name
    for name, (kind, changes) in families.FAMILIES.items()
    if kind in LISTED and changes.get("sliding_window") is None
}
MIXING = ("LFM2", "Qwen3.5", "Qwen3-Next", "Falcon-H1", "Bamba", "Jamba", "Granite-hybrid", "OLMo-hybrid", "RecurrentGemma",
          "Mamba", "Llama 4", "BLOOM", "Falcon, ALiBi", "GPT-Neo", "Mistral, window")  # fmt: skip


@pytest.mark.parametrize("name", [*sorted(SHARED), *MIXING, "Zamba 2", "RWKV"])
def test_a_prover_of_any_family_is_right(name, tmp_path):
    """Log-probs sampled and scored, gradients and the first ratio against plain rows."""
    families.save_family(name, tmp_path)
    row = families.prover_row(tmp_path)
    assert row.right, row
    assert (row.reading is Route.SHARED) == (name in SHARED)


@pytest.mark.parametrize("name", ["LFM2", "Jamba", "Bamba", "Falcon, ALiBi", "XLNet", "BERT", "GPT-2"])
@pytest.mark.parametrize("score", ["last_token", "likelihood"])
def test_a_verifier_scores_a_text_in_company_as_alone(name, score, tmp_path):
    families.save_family(name, tmp_path)
    if (name, score) in {
        ("LFM2", "last_token"),
        ("Bamba", "last_token"),
        ("XLNet", "likelihood"),
        ("BERT", "likelihood"),
    }:
        with pytest.raises(UserError, match=r"^verifier\.(model|score): "):
            families.verifier_row(tmp_path, score)
        return
    assert families.verifier_row(tmp_path, score).right


def test_listed_architectures_need_no_check(byte_tokenizer, monkeypatch):
    def fail(*_):
        raise AssertionError("checked")

    monkeypatch.setattr(self_check, "_causal_route", fail)
    assert prover_of(tiny_model("llama", byte_tokenizer), byte_tokenizer).route is Route.SHARED


def test_sharing_that_changes_log_probs_is_noticed(byte_tokenizer, monkeypatch):
    """A listed model taken off the list, whose tree mask is lost on the way."""
    model = tiny_model("gpt2", byte_tokenizer)
    monkeypatch.setattr(self_check, "is_listed", lambda config: False)
    monkeypatch.setattr(self_check, "_outcomes", {})
    assert self_check.causal_route(model, "prover") is Route.SHARED
    forward = model.transformer.forward
    monkeypatch.setattr(self_check, "_outcomes", {})

    def maskless(*ids, position_ids=None, attention_mask=None, **more):
        mask = attention_mask if position_ids is None else None
        return forward(*ids, position_ids=position_ids, attention_mask=mask, **more)

    monkeypatch.setattr(model.transformer, "forward", maskless)
    route = self_check.causal_route(model, "prover")
    assert route is Route.ROWS
    line = self_check.notice(model, "prover", route)
    assert line.startswith("prover.model: GPT2LMHeadModel is read as one padded row a text")


def test_an_output_layer_of_another_kind_is_refused(byte_tokenizer, monkeypatch):
    model = tiny_model("gpt2", byte_tokenizer)
    monkeypatch.setattr(self_check, "is_listed", lambda config: False)
    monkeypatch.setattr(self_check, "_outcomes", {})
    head = model.lm_head.forward
    monkeypatch.setattr(
        self_check, "causal_logprobs", lambda m, h, t: torch.log_softmax(2 * head(h), -1).gather(1, t[:, None])[:, 0]
    )
    with pytest.raises(
        UserError, match=r"^prover\.model: the log-probs computed for GPT2LMHeadModel are not the model's own"
    ):
        self_check.causal_route(model, "prover")


def test_an_encoder_is_no_prover(tmp_path):
    families.save_family("BERT", tmp_path)
    with pytest.raises(UserError, match=r"^prover\.model: BertLMHeadModel reads both ways"):
        Prover.load(ProverSettings(model=str(tmp_path)), "cpu")


def test_a_decoder_made_to_read_both_ways(tmp_path):
    """Embedding models are Llamas and Qwens whose configuration says so."""
    families.save_family("Llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    with pytest.raises(UserError, match=r"^prover\.model: LlamaForCausalLM reads both ways"):
        Prover.load(ProverSettings(model=str(tmp_path)), "cpu")
    assert families.verifier_row(tmp_path, "last_token").right


def test_a_head_that_gives_all_texts_nearly_one_score_hides_no_wrong_padding(tmp_path, monkeypatch):
    """Padding on the wrong side moves these scores by 1e-6, as much as they differ; trained ones it would move by as much as they do."""
    families.save_family("XLNet", tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the head is a new one
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=1)
    with torch.no_grad():
        model.logits_proj.weight.mul_(1e-4)
    model.save_pretrained(tmp_path)
    monkeypatch.setattr(self_check, "_outcomes", {})
    verifier = Verifier.load(VerifierSettings(model=str(tmp_path)), "cpu")
    assert verifier.score(PENS, PEN_TEXTS).std() < 1e-4
    assert verifier.reading == ScoreReading(None, Padding.LEFT)


def test_xlnet_pools_at_the_end_and_is_padded_in_front(tmp_path):
    families.save_family("XLNet", tmp_path)
    verifier = Verifier.load(VerifierSettings(model=str(tmp_path)), "cpu")
    assert verifier.reading == ScoreReading(None, Padding.LEFT)
    texts = ["1", "1 + 2 = 3\n#### 3", "no"]
    together = verifier.score(PENS[:3], texts)
    for i, text in enumerate(texts):
        assert verifier.score([PENS[i]], [text])[0] == pytest.approx(together[i], abs=1e-5)


@pytest.mark.parametrize("score", ["last_token", "likelihood"])
def test_a_verifier_whose_own_forward_fails_is_one_line(score, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise TypeError("topk(): argument 'k' must be int, not NoneType")

    families.save_family("Qwen3-MoE", tmp_path)
    monkeypatch.setattr("transformers.models.qwen3_moe.modeling_qwen3_moe.Qwen3MoeModel.forward", broken)
    monkeypatch.setattr(self_check, "is_listed", lambda config: False)
    with pytest.raises(UserError, match=r"^verifier\.model: Qwen3MoeFor\w+ fails on plain text"):
        families.verifier_row(tmp_path, score)
