"""The prover around its weights: token ids of its prompts, and what text comes out."""

from __future__ import annotations

import io
from copy import deepcopy

import pytest
import torch
from tokenizers import processors

from legibility.config import ProverSettings
from legibility.models.prover import Prover
from legibility.models.warm_start import encode_prompt
from legibility.player_settings import LoraSettings
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, SNEAKY, PromptSet
from tests.support import llama, prover_of

PROBLEM = Problem("p", "How many?", "7", solution="the secret")

# ---------------------------------------------------------------- token ids


@pytest.fixture
def special_tokenizer(byte_tokenizer):
    """make(template): the byte tokenizer, adding special tokens as some models' do."""

    def make(template: str):
        tokenizer = deepcopy(byte_tokenizer)
        tokenizer.add_special_tokens({"bos_token": "<bos>"})
        ids = [("<bos>", tokenizer.bos_token_id), ("<end>", tokenizer.eos_token_id)]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
        return tokenizer

    return make


@pytest.mark.parametrize(
    ("template", "begins"), [("$A", False), ("<bos> $A", True), ("<bos> $A <end>", True), ("$A <end>", False)]
)
def test_prompts_begin_as_the_model_expects_and_do_not_end(special_tokenizer, template, begins):
    """BOS once where the tokenizer uses it, no end token after the prompt; the same ids as in the warm start."""
    tokenizer = special_tokenizer(template)
    prover = prover_of(llama(tokenizer), tokenizer)
    ids = prover.prompt_ids(PROBLEM, HELPFUL)
    plain = tokenizer("hHow many?", add_special_tokens=False)["input_ids"]
    assert ids == ([tokenizer.bos_token_id] if begins else []) + plain
    assert ids == encode_prompt(tokenizer, "hHow many?")


def test_a_chat_template_that_writes_bos_itself_gets_one(special_tokenizer):
    tokenizer = special_tokenizer("<bos> $A")
    tokenizer.chat_template = "<bos>{% for m in messages %}{{ m.content }}{% endfor %}"
    prompts = PromptSet(helpful="{problem}", sneaky="{problem}!")
    prover = Prover(llama(tokenizer), tokenizer, prompts, device="cpu", chat_template=True)
    plain = tokenizer("How many?", add_special_tokens=False)["input_ids"]
    assert prover.prompt_ids(PROBLEM, HELPFUL) == [tokenizer.bos_token_id, *plain]


def test_decoding_drops_special_tokens_and_outer_space(byte_tokenizer):
    prover = prover_of(llama(byte_tokenizer), byte_tokenizer)
    ids = byte_tokenizer("  3 + 4 = 7\n#### 7 \n", add_special_tokens=False)["input_ids"]
    assert prover.decode([*ids, byte_tokenizer.eos_token_id]) == "3 + 4 = 7\n#### 7"


# ---------------------------------------------------------------- where models are


def test_a_prompt_is_tokenised_once(tiny_prover_dir, monkeypatch):
    from legibility.models import prover as module

    prover = Prover.load(ProverSettings(model=str(tiny_prover_dir)), "cpu")
    texts: list[str] = []
    monkeypatch.setattr(
        module, "encode_prompt", lambda tokenizer, text: texts.append(text) or encode_prompt(tokenizer, text)
    )
    one, other = Problem("1", "Tom has 2 pens.", "2"), Problem("2", "Ann has 3 pens.", "3")
    first = prover.prompt_ids(one, HELPFUL)
    first.append(0)  # the caller's own list
    assert prover.prompt_ids(one, HELPFUL) == first[:-1]
    assert prover.prompt_ids(one, SNEAKY) != prover.prompt_ids(other, SNEAKY)
    assert len(texts) == 3


@pytest.mark.parametrize("lora", [None, LoraSettings(r=2)])
def test_a_prover_that_recomputes_can_be_sent_to_ranks(tiny_prover_dir, lora):
    prover = Prover.load(
        ProverSettings(model=str(tiny_prover_dir), gradient_checkpointing=True, lora=lora), "cpu", seed=0
    )
    content = io.BytesIO()
    torch.save(prover, content)  # as legibility.launched_team does
    content.seek(0)
    assert torch.load(content, weights_only=False).recomputes
