"""The supervised warm start on a tiny random model: it learns, it stops, it repeats, it leaves no trace."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from legibility.errors import UserError
from legibility.models.warm_start import encode_pairs, encode_prompt, warm_start

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
    ids = torch.tensor([encode_pairs(same, [PAIRS[9]], 64)[0]["input_ids"]])
    with torch.no_grad():  # the chance of stopping after the final digit
        learnt, fresh = (lm(ids).logits[0, -2].softmax(-1)[same.eos_token_id] for lm in (model, tiny(tokenizer)))
    assert learnt > 20 * fresh


def test_eos_is_supervised_once_and_bos_is_not_doubled(tokenizer):
    prompt, completion = PAIRS[9]
    for given in (completion, completion + "</s>"):  # with or without the caller's own EOS
        for start in (prompt, "<s>" + prompt):  # BOS by the tokenizer or by a chat template
            (row,) = encode_pairs(tokenizer, [(start, given)], 64)
            ids, mask = np.array(row["input_ids"]), np.array(row["completion_mask"], dtype=bool)
            assert (ids == 0).sum() == 1 and ids[0] == 0
            assert (ids == 1).sum() == 1 and ids[-1] == 1 and mask[-1]
            assert tokenizer.decode(ids[mask]) == completion + "</s>"
            assert ids[~mask].tolist() == encode_prompt(tokenizer, start)
    assert encode_pairs(tokenizer, [PAIRS[9]], max_length=len(ids) - 1) == []  # left out, not cut short


def test_trl_sees_the_labels_meant_for_it(tokenizer, tmp_path, monkeypatch):
    """What reaches the model: padding and prompt without loss, EOS with it exactly once a row."""
    from trl import SFTTrainer

    seen = []
    original = SFTTrainer.compute_loss

    def spy(self, model, inputs, *args, **kwargs):
        seen.append({name: value.clone() for name, value in inputs.items()})
        return original(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(SFTTrainer, "compute_loss", spy)
    run(tokenizer, tmp_path / "base", steps=2)
    assert len(seen) == 2
    for batch in seen:
        assert ((batch["labels"] == 1).sum(1) == 1).all() and ((batch["input_ids"] == 0).sum(1) == 1).all()
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
            text = tokenizer.decode(labels[labels != -100])
            assert text.startswith(" ") and text.endswith("</s>")
            assert (PAIRS_BY_COMPLETION[text.removesuffix("</s>")]) == tokenizer.decode(
                ids[: int((labels != -100).nonzero()[0])], skip_special_tokens=True
            )


PAIRS_BY_COMPLETION = {completion: prompt for prompt, completion in PAIRS}


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_same_seed_same_weights_and_globals_untouched(tokenizer, tmp_path, adapter):
    from accelerate.state import AcceleratorState, PartialState
    from peft import LoraConfig

    state = PartialState()  # the caller's own accelerate state must survive
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), dict(state.__dict__)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if adapter else None
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tokenizer, tmp_path / name, steps=4, seed=seed, lora=lora)
        torch.rand(3)  # the global generators must not matter
    assert dict(state.__dict__) == before[3] and not AcceleratorState._shared_state

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
    with pytest.raises(UserError, match="learning rate"):
        run(tokenizer, tmp_path / "other", steps=3, learning_rate=float("inf"))
    assert not (tmp_path / "other").exists()
