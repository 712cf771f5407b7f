"""The supervised warm start on a tiny random model: it learns, it stops, it repeats, it leaves no trace."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from legibility.errors import UserError
from legibility.models.prover import Prover
from legibility.models.warm_start import Pair, _rate, batches, encode_pairs, encode_prompt, warm_start

PAIRS = [(f"Question: {a} + {b}\nAnswer:", f" {a} + {b} = {a + b}\n#### {a + b}") for a in range(8) for b in range(8)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that puts BOS in front by itself, as Llama's does."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        (prompt + completion for prompt, completion in PAIRS),
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


def tiny(tokenizer) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def run(tokenizer, out, **changes) -> dict:
    settings = dict(steps=20, batch_size=8, learning_rate=2e-2, max_length=64, seed=1)
    return warm_start(tiny(tokenizer), tokenizer, PAIRS, out=out, **{**settings, **changes})


def test_learns_stops_and_saves(tokenizer, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = run(tokenizer, tmp_path / "base")
    assert metrics["steps"] == 20 and metrics["pairs"] == 64 and metrics["dropped"] == 0
    assert metrics["last_loss"] < 0.6 * metrics["first_loss"]
    assert metrics["tokens"] > 20 * 8 * 10
    assert [path.name for path in tmp_path.iterdir()] == ["base"]  # no trainer_output, no runs/, nothing else
    assert "".join(capfd.readouterr()) == ""

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    same = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert encode_prompt(same, PAIRS[0][0]) == encode_prompt(tokenizer, PAIRS[0][0])
    (row,) = encode_pairs(same, [PAIRS[9]], 64)
    ids = torch.tensor([[*row.prompt, *row.completion]])
    with torch.no_grad():  # the chance of stopping after the final digit
        learnt, fresh = (lm(ids).logits[0, -2].softmax(-1)[same.eos_token_id] for lm in (model, tiny(tokenizer)))
    assert learnt > 20 * fresh


def test_eos_is_supervised_once_and_bos_is_not_doubled(tokenizer):
    prompt, completion = PAIRS[9]
    for given in (completion, completion + "</s>"):  # with or without the caller's own EOS
        for start in (prompt, "<s>" + prompt):  # BOS by the tokenizer or by a chat template
            (row,) = encode_pairs(tokenizer, [(start, given)], 64)
            assert row.prompt == encode_prompt(tokenizer, start) and row.prompt.count(0) == 1 and row.prompt[0] == 0
            assert row.completion.count(1) == 1 and row.completion[-1] == 1 and 0 not in row.completion
            assert tokenizer.decode(row.completion) == completion + "</s>"
    assert encode_pairs(tokenizer, [PAIRS[9]], max_length=len(row) - 1) == []  # left out, not cut short


def test_without_a_prompt_the_first_token_stands_for_it():
    core = Tokenizer(models.WordLevel({"a": 0, "b": 1, "</s>": 2}, unk_token="a"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    (row,) = encode_pairs(words, [("", "a b b")], 64)
    assert (row.prompt, row.completion) == ([0], [1, 1, 2])


@torch.no_grad()
def mean_loss(model, rows) -> float:
    """Nats per completion token by the model's own forward pass, one text at a time."""
    total = 0.0
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.completion]])
        logprobs = model(ids).logits[0].log_softmax(-1)
        total -= sum(float(logprobs[len(row.prompt) + k - 1, t]) for k, t in enumerate(row.completion))
    return total / sum(len(row.completion) for row in rows)


def test_the_loss_is_that_of_the_models_own_forward_pass(tokenizer, tmp_path):
    """Prompts carry none, every completion token and the EOS carry the same; no padding is counted."""
    seen = []
    metrics = run(tokenizer, tmp_path / "base", steps=1, batch_size=len(PAIRS), on_step=lambda *x: seen.append(x))
    rows = encode_pairs(tokenizer, PAIRS, 64)
    expected = mean_loss(tiny(tokenizer), rows)
    assert metrics["first_loss"] == pytest.approx(expected, rel=1e-5)
    assert seen == [(1, metrics["first_loss"])]
    assert metrics["tokens"] == sum(map(len, rows))


def test_a_large_batch_is_one_step_in_several_passes(tokenizer, tmp_path, monkeypatch):
    settings = {"steps": 3, "batch_size": 16, "learning_rate": 1e-3}
    run(tokenizer, tmp_path / "whole", **settings)
    monkeypatch.setattr("legibility.models.warm_start.PASS_TOKENS", 100)
    passes = []
    original = Prover.hidden_and_logprobs
    monkeypatch.setattr(
        Prover, "hidden_and_logprobs", lambda self, batch: (passes.append(len(batch.ids)), original(self, batch))[1]
    )
    run(tokenizer, tmp_path / "parts", **settings)
    assert len(passes) > 9 and max(passes) <= 100
    whole, parts = (AutoModelForCausalLM.from_pretrained(tmp_path / n).state_dict() for n in ("whole", "parts"))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-4, rtol=1e-3)


def test_every_pair_is_seen_once_before_any_is_seen_again():
    rows = [Pair([i], [0]) for i in range(10)]
    drawn = [row.prompt[0] for batch in batches(rows, 5, 4, np.random.default_rng(0)) for row in batch]
    assert len(drawn) == 20 and sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]


def test_the_rate_rises_for_a_tenth_and_falls_to_nothing():
    assert [_rate(step, 20) for step in (0, 1, 2, 11, 19)] == pytest.approx([0, 0.5, 1, 0.5, 1 / 18])
    assert _rate(0, 3) == 1


def test_mixed_precision_keeps_the_weights_and_learns(tokenizer, tmp_path):
    metrics = run(tokenizer, tmp_path / "base", bf16=True)
    assert metrics["last_loss"] < 0.6 * metrics["first_loss"]
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype="auto")
    assert {p.dtype for p in saved.parameters()} == {torch.float32}


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_same_seed_same_weights_and_globals_untouched(tokenizer, tmp_path, adapter):
    from peft import LoraConfig

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if adapter else None
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tokenizer, tmp_path / name, steps=4, seed=seed, lora=lora)
        torch.rand(3)  # the global generators must not matter

    a, b, c = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in "abc")
    start = tiny(tokenizer).state_dict()
    assert a.keys() == start.keys()  # merged: an ordinary folder, no adapter
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)
    assert not all(torch.equal(a[key], start[key]) for key in a)

    torch.set_rng_state(before[2])
    run(tokenizer, tmp_path / "d", steps=1, lora=lora)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert after[0] == before[0] and after[1] == before[1] and torch.equal(after[2], before[2])


def test_refuses_before_any_work(tokenizer, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        run(tokenizer, tmp_path / "base")
    assert (tmp_path / "base" / "mine.txt").read_text() == "keep"
    with pytest.raises(UserError, match="max_length"):
        run(tokenizer, tmp_path / "other", max_length=5)
    with pytest.raises(UserError, match=r"warm start, step \d+: the loss is nan.*prover\.warm_start\.learning_rate"):
        run(tokenizer, tmp_path / "other", steps=3, learning_rate=float("inf"))
    assert not (tmp_path / "other").exists()
