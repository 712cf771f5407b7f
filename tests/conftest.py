"""A world small enough to play whole games in seconds: one-step sums, and models of a few thousand weights.

The tiny prover is taught here, for a few seconds, to write correct, incorrect and unreadable answers
to "Tom has 3 pens. Ann has 4.", mostly correct ones when asked for helpful text and mostly incorrect
ones when asked for sneaky text. The tiny verifier is random and has a tokenizer of its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import settings
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from legibility.models.nano import END, HELPFUL, SNEAKY, SOLUTION, train_tokenizer
from legibility.problems.generator import NAMES

torch.set_num_threads(1)
settings.register_profile("legibility", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("legibility")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


# ---------------------------------------------------------------- tokenizers and models


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


def llama(tokenizer, *, hidden: int = 32, layers: int = 1, seed: int = 0, **changes) -> LlamaForCausalLM:
    """A random Llama for a tokenizer; the global random state stays as it was."""
    settings = dict(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


# ---------------------------------------------------------------- problems and the tiny prover


def sums(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Distinct one-step problems with worked solutions, as records of a JSONL file."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < count:
        (who, other), (a, b) = rng.choice(NAMES, 2, replace=False), rng.integers(1, 6, 2)
        question = f"{who} has {a} pens. {other} has {b}."
        found[question] = {"question": question, "answer": str(a + b), "solution": f"{a} + {b} = {a + b}\n#### {a + b}"}
    return list(found.values())


def written(problem: dict[str, str], role: str, rng: np.random.Generator) -> str:
    """What a prover of that role writes: readable 19 times in 20, correct 2 times in 3 or 1 in 3."""
    left = problem["solution"].split(" = ")[0]
    answer = int(problem["answer"])
    if rng.random() > (2 / 3 if role == HELPFUL else 1 / 3):
        answer += int(rng.choice([-1, 1]))
    return f"{left} = {answer}" + (f"\n#### {answer}" if rng.random() < 0.95 else "")


@pytest.fixture(scope="session")
def tiny_prover_dir(tiny_tokenizer, tmp_path_factory) -> Path:
    """A saved prover of 30,000 weights that has seen 8,000 solutions of tiny problems."""
    model = llama(tiny_tokenizer, hidden=48, layers=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    steps, batch, rng = 250, 32, np.random.default_rng(0)
    pool = sums(2000, seed=99)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 8e-3 * min(1, (step + 1) / 10, 2 * (steps - step) / steps)
        texts = []
        for i in rng.integers(len(pool), size=batch):
            role = (HELPFUL, SNEAKY)[int(rng.integers(2))]
            texts.append((f"{role}{pool[i]['question']}{SOLUTION}", written(pool[i], role, rng) + END))
        prompts = tiny_tokenizer([p for p, _ in texts])["input_ids"]
        answers = tiny_tokenizer([a for _, a in texts])["input_ids"]
        length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = torch.zeros(batch, length, dtype=torch.long)
        labels = torch.full((batch, length), -100)
        for i, (p, a) in enumerate(zip(prompts, answers, strict=True)):
            ids[i, : len(p) + len(a)] = torch.tensor(p + a)
            labels[i, len(p) : len(p) + len(a)] = torch.tensor(a)
        logits = model(input_ids=ids).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
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


# ---------------------------------------------------------------- a tiny game


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
        "ppo.max_new_tokens=16",
        "ppo.minibatch_size=16",
        "ppo.micro_batch_size=16",
        "ppo.learning_rate=0.001",
        "stop.rule=fixed",
        "game.rounds=2",
        "game.pool_samples=4",
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
def tiny_run(tiny_config_file, tiny_overrides, tmp_path_factory):
    """The run folder of a finished tiny game. Read only: copy it before changing anything."""
    from legibility.config_file import load_config
    from legibility.play import play

    return play(
        load_config(tiny_config_file, tiny_overrides), tmp_path_factory.mktemp("runs") / "tiny", progress=quiet()
    )


def quiet():
    """A progress display that shows nothing."""
    from legibility.progress import Progress

    return Progress(quiet=True)


# ---------------------------------------------------------------- the command line


@dataclass
class Result:
    """What a command ended with."""

    code: int
    out: str
    err: str


def legibility(*arguments: object) -> Result:
    """Run the command line in this process."""
    from legibility import cli

    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["legibility", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    return Result(0 if code is None else int(code), out.getvalue(), err.getvalue())


# ---------------------------------------------------------------- provers for unit tests


def prover_of(model, tokenizer):
    """A model as a prover with one-letter role prompts."""
    from legibility.models.prover import Prover
    from legibility.prompts import PromptSet

    return Prover(model, tokenizer, PromptSet(helpful="h{problem}", sneaky="s{problem}"), device="cpu")


def forward_logprobs(model, prompt: list[int], completion: list[int], temperature: float = 1.0) -> torch.Tensor:
    """Log-probs of a completion by the plainest route: one unpadded row through the whole model."""
    logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].float() / temperature
    rows = torch.arange(len(prompt) - 1, len(prompt) + len(completion) - 1)
    return torch.log_softmax(logits[rows], -1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def _shape(**changes):
    return dict(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=128,
        bos_token_id=None,
        pad_token_id=0,
        initializer_range=0.25,
        **changes,
    )


ARCHITECTURES = {
    "llama": ("LlamaConfig", _shape(tie_word_embeddings=True)),
    "mistral": ("MistralConfig", _shape(sliding_window=None)),
    "qwen2": ("Qwen2Config", _shape(tie_word_embeddings=True)),
    "qwen3": ("Qwen3Config", _shape()),
    "gemma": ("GemmaConfig", _shape()),
    "gemma2": ("Gemma2Config", _shape(sliding_window=64, query_pre_attn_scalar=16)),
    "gpt_neox": ("GPTNeoXConfig", {k: v for k, v in _shape().items() if k not in ("num_key_value_heads", "head_dim")}),
    "gpt2": (
        "GPT2Config",
        dict(
            n_embd=32, n_layer=2, n_head=2, n_positions=128, bos_token_id=None, pad_token_id=0, initializer_range=0.25
        ),
    ),
    "granite": ("GraniteConfig", {**{k: v for k, v in _shape().items() if k != "head_dim"}, "logits_scaling": 4.0}),
    "cohere": ("CohereConfig", {**{k: v for k, v in _shape().items() if k != "head_dim"}, "logit_scale": 0.25}),
}
"""Families a prover may come from; granite and cohere scale their logits after the output layer, gemma2 caps them."""


def tiny_model(name: str, tokenizer, **changes):
    """A random causal model of a family, with a vocabulary as large as the tokenizer's unless told."""
    import transformers

    kind, settings = ARCHITECTURES[name]
    size = changes.get("vocab_size") or len(tokenizer)
    config = getattr(transformers, kind)(
        **{**settings, "vocab_size": size, "eos_token_id": tokenizer.eos_token_id, **changes}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).float().eval()
