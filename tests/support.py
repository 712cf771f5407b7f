"""Helpers of the tests: tiny models and problems, and the command line in this process.

Fixtures stand in conftest.py; what a test imports by name stands here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from legibility.models.nano import END, HELPFUL, SNEAKY, SOLUTION
from legibility.problems.generator import NAMES
from legibility.problems.records import Problem

ROOT = Path(__file__).resolve().parents[1]
GSM8K = Path(os.environ.get("LEGIBILITY_GSM8K") or ROOT.parent / "shared/data/gsm8k")
"""The real GSM8K, where there is one; tests of it skip elsewhere."""


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


def teach(model, tokenizer, steps: int = 250):
    """The model after a few seconds on solutions of tiny problems in both roles, 32 a step."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    batch, rng = 32, np.random.default_rng(0)
    pool = sums(2000, seed=99)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 8e-3 * min(1, (step + 1) / 10, 2 * (steps - step) / steps)
        texts = []
        for i in rng.integers(len(pool), size=batch):
            role = (HELPFUL, SNEAKY)[int(rng.integers(2))]
            texts.append((f"{role}{pool[i]['question']}{SOLUTION}", written(pool[i], role, rng) + END))
        prompts = tokenizer([p for p, _ in texts])["input_ids"]
        answers = tokenizer([a for _, a in texts])["input_ids"]
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
    return model.eval()


def quiet():
    """A progress display that shows nothing."""
    from legibility.progress import Progress

    return Progress(quiet=True)


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


def forget_hashes(run: Path) -> None:
    """Make a run folder one of those whose settings and problems are not checked, as older ones are."""
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["sha256"]
    (run / "manifest.json").write_text(json.dumps(manifest))


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


def beats(pairs) -> float:
    """Share of (correct, incorrect) score pairs won, ties half; nan without pairs."""
    pairs = list(pairs)
    return sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs) if pairs else float("nan")


PACKED_PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 0, 12]]  # id 0 is the pad token: here it is text
PACKED_COMPLETIONS = [
    [[20, 21, 22], [23], [20, 0, 0, 25, 26, 27]],
    [[30, 31], [0]],
    [[1], [33, 34, 35, 36], [37, 0], [38]],
]


# --- Finished games ----------------------------------------------------------------------------


def play_with(config_file, overrides, out, *more):
    """A whole game with more overrides; its run folder."""
    from legibility.config_file import load_config
    from legibility.play import train

    return train(load_config(config_file, [*overrides, *more]), out, progress=quiet())


def metrics(run, place: str) -> list[dict]:
    """The step metrics of a phase."""
    return [json.loads(line) for line in (run.path / place / "metrics.jsonl").read_text().splitlines()]


def training(run, place: str) -> dict:
    """training.json of a phase, as it stands in the file."""
    return json.loads((run.path / place / "training.json").read_text())


def ppo_rows(run, index: int):
    """The completions that a round's PPO steps were made of."""
    from legibility.game.solutions import round_solutions

    frame = round_solutions(run, index)
    return frame[frame.phase == "ppo"]


# --- Verifiers ---------------------------------------------------------------------------------

PENS = [Problem(f"p{i}", f"Tom has {i} pens. Ann has {i + 1}.", str(2 * i + 1)) for i in range(6)]
PEN_TEXTS = ["#### 1", "1 + 2 = 3\n#### 3", "2 + 3 = 5\n" * 4 + "#### 5", "", "#### 9", "é ≠ ∞ 漢字"]


def load_verifier(folder, batch: int = 256, seed: int = 0, **changes):
    """A verifier from a model folder, with other settings."""
    from legibility.config import VerifierSettings
    from legibility.models.verifier import Verifier

    return Verifier.load(VerifierSettings(model=str(folder), **changes), "cpu", seed=seed, batch=batch)


def script(name: str) -> ModuleType:
    """A script of scripts/ as a module, under a name by which pydantic finds its models."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "scripts"))  # as Python does for a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return module


HOLD = """
import os, sys, time
from pathlib import Path
from legibility.folder_lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
if len(sys.argv) > 2 and os.fork() == 0:
    Path(sys.argv[2]).write_text(str(os.getpid()))
    time.sleep(60)
print("held", flush=True)
time.sleep(60)
"""


def holder(*arguments) -> subprocess.Popen:
    """A process that holds the lock of a folder; with a second path, so does its child, which writes its number there."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process
