"""Reward models and classifiers as others publish them: right scores, or one line."""

from __future__ import annotations

import shutil
from copy import deepcopy

import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from legibility.config import ProverSettings
from legibility.errors import UserError
from legibility.models.prover import Prover
from tests.support import PEN_TEXTS, PENS, llama, load_verifier


def plain_logits(model, verifier):
    """The published model's own logits (texts, labels), one text at a time."""
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in verifier.encode(PENS, PEN_TEXTS)])


def classifier(base, folder, labels):
    """A classifier with a head of its own and a bias, saved as one of `labels` labels."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels).eval()
    head = model.classifier if hasattr(model, "classifier") else model.score
    with torch.no_grad():
        head.weight.normal_()
        if head.bias is not None:
            head.bias.copy_(torch.arange(labels))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return model


def test_two_labels_become_the_difference_of_their_logits(scorer_dir, tmp_path):
    model = classifier(scorer_dir, tmp_path / "model", 2)
    verifier = load_verifier(tmp_path / "model")
    logits = plain_logits(model, verifier)
    expected = (logits[:, 1] - logits[:, 0]).numpy()
    assert verifier.score(PENS, PEN_TEXTS) == pytest.approx(expected, abs=1e-4) and expected.std() > 1e-3
    verifier.save(tmp_path / "saved")
    again = load_verifier(tmp_path / "saved")
    assert again.score(PENS, PEN_TEXTS) == pytest.approx(expected, abs=1e-4)


def test_labels_that_say_the_second_is_the_bad_one(tiny_bert_dir, tmp_path):
    model = classifier(tiny_bert_dir, tmp_path, 2)
    model.config.id2label = {0: "Correct", 1: "Incorrect"}
    model.config.save_pretrained(tmp_path)
    verifier = load_verifier(tmp_path)
    logits = plain_logits(model, verifier)
    assert verifier.score(PENS, PEN_TEXTS) == pytest.approx((logits[:, 0] - logits[:, 1]).numpy(), abs=1e-4)


def test_one_label_keeps_its_head(scorer_dir, tmp_path):
    model = classifier(scorer_dir, tmp_path, 1)
    verifier = load_verifier(tmp_path)
    assert verifier.score(PENS, PEN_TEXTS) == pytest.approx(plain_logits(model, verifier)[:, 0].numpy(), abs=1e-4)


def test_five_labels_are_no_score(scorer_dir, tmp_path):
    classifier(scorer_dir, tmp_path, 5)
    with pytest.raises(UserError, match=r"^verifier\.model: .* has a head of 5 labels"):
        load_verifier(tmp_path)


def test_an_encoder_without_pad_and_end_tokens(tiny_bert_dir, tmp_path):
    shutil.copytree(tiny_bert_dir, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_dir)
    expected = load_verifier(tiny_bert_dir).score(PENS, PEN_TEXTS)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "model")
    verifier = load_verifier(tmp_path / "model")
    assert verifier.tokenizer.pad_token_id is None
    assert verifier.score(PENS, PEN_TEXTS) == pytest.approx(expected, abs=1e-5)


def test_a_vocabulary_smaller_than_the_tokenizer_is_one_line(byte_tokenizer, tmp_path):
    llama(byte_tokenizer, vocab_size=200).save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"^verifier\.model: the tokenizer has 258 tokens and the model 200"):
        load_verifier(tmp_path)
    with pytest.raises(UserError, match=r"^prover\.model: the tokenizer has 258 tokens and the model 200"):
        Prover.load(ProverSettings(model=str(tmp_path)), "cpu")


def test_a_pad_token_added_beyond_the_vocabulary_does_no_harm(tiny_bert_dir, tmp_path):
    """Often done, seldom with resized embeddings; as padding it is hidden, in a template it is refused."""
    shutil.copytree(tiny_bert_dir, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_dir)
    tokenizer.add_special_tokens({"pad_token": "[MYPAD]"})
    tokenizer.save_pretrained(tmp_path / "model")
    verifier = load_verifier(tmp_path / "model")
    assert verifier.score(PENS, PEN_TEXTS) == pytest.approx(
        load_verifier(tiny_bert_dir).score(PENS, PEN_TEXTS), abs=1e-5
    )
    assert max(verifier.encode(PENS[:1], ["Tom [MYPAD]"])[0]) < tokenizer.pad_token_id  # in a solution it is text
    with pytest.raises(UserError, match=r"^verifier\.model: the text has the token '\[MYPAD\]'"):
        load_verifier(tmp_path / "model", template="[MYPAD]{problem} {solution}")


@pytest.mark.parametrize("score", ["last_token", "likelihood"])
def test_a_template_that_writes_bos_itself_gets_one(score, byte_tokenizer, tmp_path):
    tokenizer = deepcopy(byte_tokenizer)
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", bos)]
    )
    llama(tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    plain = load_verifier(tmp_path, score=score, template="{problem}\n{solution}")
    own = load_verifier(tmp_path, score=score, template="<bos>{problem}\n{solution}")
    for a, b in zip(plain.encode(PENS, PEN_TEXTS), own.encode(PENS, PEN_TEXTS), strict=True):
        assert a[0] == bos and list(a).count(bos) == 1
        assert a == b and a.solution == b.solution
    if score == "likelihood":
        (one, two) = (v.explain(PENS[1], PEN_TEXTS[1]) for v in (plain, own))
        assert [(t.text, t.start) for t in one.tokens] == [(t.text, t.start) for t in two.tokens]


def test_a_head_that_is_no_single_layer_is_one_line(tmp_path):
    from legibility.models.loading import one_logit

    model = BertForSequenceClassification(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                                     intermediate_size=8, num_labels=2))  # fmt: skip
    model.other = torch.nn.Linear(3, 2)
    with pytest.raises(UserError, match="no single linear layer"):
        one_logit(model)
