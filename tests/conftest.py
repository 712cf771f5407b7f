"""A world small enough to play whole games in seconds: one-step sums, and models of a few thousand weights.

The tiny prover is taught here, for a few seconds, to write correct, incorrect and unreadable answers
to "Tom has 3 pens. Ann has 4.", mostly correct ones when asked for helpful text and mostly incorrect
ones when asked for sneaky text. The tiny verifier is random and has a tokenizer of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers import models as tokenizer_models
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from legibility.models.nano import train_tokenizer
from tests.browser import Browser
from tests.support import llama, quiet, sums, teach

torch.set_num_threads(1)
settings.register_profile("legibility", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("legibility")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; tests that want it are skipped where there is none."""
    opened = Browser()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The nano tokenizer, smaller."""
    return train_tokenizer(vocab_size=300)


@pytest.fixture(scope="session")
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, unlike the prover's in everything."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(tokenizer_models.BPE(vocab={c: i for i, c in enumerate(["<pad>", "<end>", *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<pad>", "<end>"])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<end>")


@pytest.fixture(scope="session")
def tiny_prover_dir(tiny_tokenizer, tmp_path_factory) -> Path:
    """A saved prover of 30,000 weights that has seen 8,000 solutions of tiny problems."""
    model = teach(llama(tiny_tokenizer, hidden=48, layers=2), tiny_tokenizer)
    folder = tmp_path_factory.mktemp("models") / "tiny-prover"
    model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_verifier_dir(byte_tokenizer, tmp_path_factory) -> Path:
    """A saved random decoder, one layer of 32, that reads bytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny-verifier"
    llama(byte_tokenizer).save_pretrained(folder)
    byte_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert_dir(tmp_path_factory):
    """A saved random encoder with a word-piece tokenizer and dropout."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Tom", "Ann", "has", "pens", ".", "#", "=", "+", *map(str, range(20))]
    core = Tokenizer(tokenizer_models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        hidden_dropout_prob=0.2,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["decoder", "encoder"])
def scorer_dir(request, tiny_verifier_dir, tiny_bert_dir) -> Path:
    """Saved models that a verifier may start from, one of each kind."""
    return {"decoder": tiny_verifier_dir, "encoder": tiny_bert_dir}[request.param]


@pytest.fixture(scope="session")
def tiny_overrides(tiny_prover_dir, tiny_verifier_dir, tmp_path_factory) -> list[str]:
    """Settings of a game of two rounds that takes a few seconds, on top of an empty config file."""
    problems = tmp_path_factory.mktemp("problems") / "sums.jsonl"
    problems.write_text("".join(json.dumps(p) + "\n" for p in sums(150)), encoding="utf-8")
    return [
        f"problems.train={{kind: file, path: {problems}, solution: solution}}",
        "problems.prover=40",
        "problems.verifier=30",
        "problems.validation=16",
        "problems.test_size=20",
        f"prover.model={tiny_prover_dir}",
        f"verifier.model={tiny_verifier_dir}",
        "verifier.updates=12",
        "verifier.batch_problems=8",
        "verifier.solutions_per_problem=4",
        "verifier.learning_rate=0.003",
        "ppo.steps=3",
        "ppo.problems_per_step=4",
        "ppo.samples_per_role=4",
        "sampling.max_new_tokens=16",
        "ppo.minibatch_size=16",
        "ppo.micro_batch_size=16",
        "ppo.learning_rate=0.001",
        "stop.rule=fixed",
        "game.rounds=2",
        "game.collection_samples=4",
        "evaluation.samples=2",
        "evaluation.bootstrap=50",
        "gates.enabled=false",
        "compute.threads=1",
        "compute.device=cpu",
    ]


@pytest.fixture(scope="session")
def tiny_config_file(tmp_path_factory) -> Path:
    """An empty config file: every setting comes from the overrides."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text("{}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_arms_run(tiny_config_file, tiny_overrides, tmp_path_factory):
    """The run folder of a finished tiny game with every arm and every reader. Read only."""
    from legibility.config_file import load_config
    from legibility.game.arms.all_arms import ARMS
    from legibility.play import train

    names = ", ".join(["game", *(arm.name for arm in ARMS)])
    taught = ["rivals.decoupled.warm_start_steps=40", "rivals.decoupled.warm_start_learning_rate=0.003"]
    config = load_config(tiny_config_file, [*tiny_overrides, f"game.arms=[{names}]", "game.readers=true", *taught])
    return train(config, tmp_path_factory.mktemp("runs") / "arms", progress=quiet())


@pytest.fixture(scope="session")
def evaluated_arms(tiny_arms_run, tmp_path_factory):
    """The folder of a copy of `tiny_arms_run` with a quick evaluation. Read only."""
    from legibility.evaluation.evaluate import evaluate

    folder = tmp_path_factory.mktemp("evaluated") / "arms"
    shutil.copytree(tiny_arms_run.path, folder)
    evaluate(folder, quick=True)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_config_file, tiny_overrides, tmp_path_factory):
    """The run folder of a finished tiny game. Read only: copy it before changing anything."""
    from legibility.config_file import load_config
    from legibility.play import train

    return train(
        load_config(tiny_config_file, tiny_overrides), tmp_path_factory.mktemp("runs") / "tiny", progress=quiet()
    )
