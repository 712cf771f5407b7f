"""The built-in nano pair: tokenizer, architectures and pre-training.

Not in the paper (its models are GPT-4 family checkpoints of undisclosed size). The nano prover is
pre-trained on generated text in which the role prompt already means something (helpful -> worked
solutions, sneaky -> flawed ones), as a pretrained language model knows from reading its prompt;
without that the two roles do not separate under reinforcement learning. The verifier bases read the
same kind of text with 60-1000 times less pre-training compute (paper Sec. 4.2: the working band).

Run by `scripts/pretrain_nano.py`, which also writes what the training took.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from legibility.grading import grade
from legibility.problems.generator import PRETRAIN_FAMILIES, STYLES, flawed_solution, generate_problems, worked_solution
from legibility.problems.records import Problem

NANO_DIR = Path(__file__).resolve().parents[1] / "weights"
PAD, BOS, END, HELPFUL, SNEAKY, SOLUTION = (
    "<|pad|>",
    "<|start|>",
    "<|end|>",
    "<|helpful|>",
    "<|sneaky|>",
    "<|solution|>",
)
SPECIAL = [PAD, BOS, END, HELPFUL, SNEAKY, SOLUTION]
CONTEXT = 512
AT_ONCE = 16  # batches drawn together, and sorted by length


@dataclass(frozen=True)
class Stage:
    """One stage of the pre-training curriculum: `share` of all steps on this kind of text."""

    share: float
    steps: Mapping[int, float]  # problem length -> weight
    styles: Mapping[str, float]
    sneaky: float  # share of flawed solutions


STEP_BY_STEP = {"steps": 1.0}
CURRICULUM: tuple[Stage, ...] = (
    Stage(0.35, {1: 0.6, 2: 0.4}, STEP_BY_STEP, 0.0),  # short and correct: arithmetic and reading
    Stage(0.35, {2: 0.5, 3: 0.3, 4: 0.2}, STEP_BY_STEP, 0.0),
    Stage(0.30, {2: 0.45, 3: 0.3, 4: 0.15, 5: 0.07, 6: 0.03}, STYLES, 0.4),  # all styles, both roles
)
# A second, shorter run from the result: mostly step-by-step text, so that working it out pays.
POLISH: tuple[Stage, ...] = (
    Stage(1.0, {2: 0.45, 3: 0.3, 4: 0.15, 5: 0.07, 6: 0.03}, {"steps": 0.7, "results": 0.2, "answer": 0.1}, 0.4),
)


@dataclass(frozen=True)
class NanoSize:
    """Width, depth and pre-training length of one nano model.

    marking_steps, marking_rate: the further stage of a marked verifier base (`legibility.models.step_marking`).
    """

    hidden: int
    layers: int
    steps: int
    learning_rate: float = 3e-3
    batch: int = 64
    marking_steps: int = 3000
    marking_rate: float = 2e-3


SIZES: dict[str, NanoSize] = {
    "prover": NanoSize(128, 3, 3600),
    "verifier-xs": NanoSize(32, 2, 500),
    "verifier-s": NanoSize(64, 3, 250),
    "verifier-m": NanoSize(96, 4, 500),
}


def train_tokenizer(vocab_size: int = 960, seed: int = 7) -> PreTrainedTokenizerFast:
    """A small byte-level BPE: any text can be encoded, digits are single tokens, nothing is unknown."""
    rng = np.random.default_rng(seed)
    problems = generate_problems(4000, seed, families=PRETRAIN_FAMILIES)
    corpus = [p.question + "\n" + worked_solution(p, rng) for p in problems]
    tokenizer = Tokenizer(models.BPE())
    # A number is its digits, the first one carrying the space before it: " 70" -> " 7", "0".
    pieces = Regex(r" ?\d|####| ?[A-Za-z']+|\n| ?[^\sA-Za-z\d]|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        additional_special_tokens=[HELPFUL, SNEAKY, SOLUTION],
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def build(size: NanoSize, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """A freshly initialised Llama of that size; the global random state is left as it was."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=3 * size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=max(2, size.hidden // 32),
        head_dim=32 if size.hidden >= 64 else 16,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        attention_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def training_texts(seed: int, stage: Stage, roles: bool, chunk: int = 2048) -> Iterator[tuple[str, str]]:
    """Endless (prompt, solution) pairs; without `roles` the prompt does not tell who wrote it."""
    rng = np.random.default_rng([seed, 1])
    for problem in _problems(seed, stage, chunk):
        sneaky = rng.random() < stage.sneaky
        text = flawed_solution(problem, rng, stage.styles)[0] if sneaky else worked_solution(problem, rng, stage.styles)
        role = (SNEAKY if sneaky else HELPFUL) if roles else BOS
        yield f"{role}{problem.question}{SOLUTION}", text + END


def _problems(seed: int, stage: Stage, chunk: int = 2048) -> Iterator[Problem]:
    for part in count():
        yield from generate_problems(chunk, seed * 100_003 + part, steps=stage.steps, families=PRETRAIN_FAMILIES)


def training_questions(size: NanoSize, *, seed: int, curriculum: Sequence[Stage] = CURRICULUM) -> Iterator[str]:
    """The questions that `training_batches` draws, those of the last batches that a stage leaves unused among them."""
    until = 0
    for number, stage in enumerate(curriculum):
        start = until
        until = size.steps if number == len(curriculum) - 1 else until + round(stage.share * size.steps)
        drawn = size.batch * AT_ONCE * math.ceil((until - start) / AT_ONCE)
        yield from (p.question for p in islice(_problems(seed * 10 + number + 1, stage), drawn))


@dataclass(frozen=True)
class TrainingBatch:
    """One step's rows: token ids of prompts and of what is to be predicted."""

    prompts: list[list[int]]
    targets: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens of prompts and targets, without padding."""
        return sum(map(len, (*self.prompts, *self.targets)))


def training_batches(
    size: NanoSize,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    roles: bool,
    curriculum: Sequence[Stage] = CURRICULUM,
) -> Iterator[TrainingBatch]:
    """`size.steps` batches of `size.batch` rows, through the curriculum; rows of like length share a batch.

    A pure function of its arguments: `scripts/pretraining_questions.py` replays it to know what was read.
    """
    step, until = 0, 0
    for number, stage in enumerate(curriculum):
        texts = training_texts(seed * 10 + number + 1, stage, roles)
        until = size.steps if number == len(curriculum) - 1 else until + round(stage.share * size.steps)
        while step < until:
            rows = list(islice(texts, size.batch * AT_ONCE))
            prompts = tokenizer([p for p, _ in rows], add_special_tokens=False)["input_ids"]
            targets = tokenizer([s for _, s in rows], add_special_tokens=False)["input_ids"]
            order = np.argsort([len(p) + len(t) for p, t in zip(prompts, targets, strict=True)], kind="stable")
            batches = order.reshape(-1, size.batch)
            np.random.default_rng([seed, step]).shuffle(batches)
            for batch in batches[: until - step]:
                step += 1
                yield TrainingBatch([prompts[i] for i in batch], [targets[i] for i in batch])


def pretrain(
    size: NanoSize,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    roles: bool,
    curriculum: Sequence[Stage] = CURRICULUM,
    start: LlamaForCausalLM | None = None,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> tuple[LlamaForCausalLM, dict[str, float]]:
    """Next-token training on solution tokens (prompts are context only), through the curriculum.

    Begins with fresh weights, or with those of `start`. Returns the model and {"tokens", "seconds", "loss", "parameters"}.
    """
    model: Any = start or build(size, tokenizer, seed)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=size.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: trapezoid(t, size.steps))
    started, tokens, losses = time.time(), 0, []
    batches = training_batches(size, tokenizer, seed=seed, roles=roles, curriculum=curriculum)
    for step, batch in enumerate(batches, start=1):
        loss = _loss(model, batch.prompts, batch.targets, device)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tokens += batch.tokens
        losses.append(loss.item())
        if step % 100 == 0:
            log(f"step {step} loss {np.mean(losses[-100:]):.4f} seconds {time.time() - started:.0f}")
    stats = {
        "tokens": float(tokens),
        "seconds": time.time() - started,
        "loss": float(np.mean(losses[-100:])),
        "parameters": float(sum(p.numel() for p in model.parameters())),
    }
    return model.eval(), stats


def trapezoid(step: int, steps: int) -> float:
    """The learning rate's factor: a warm-up over 2 % of the steps, a plateau, a linear decay to 2 % over the last 40 %."""
    return min(1.0, (step + 1) / (0.02 * steps), 0.02 + 0.98 * (steps - step) / (0.4 * steps))


def _loss(model: Any, prompts: list[list[int]], targets: list[list[int]], device: str) -> torch.Tensor:
    lengths = [len(p) + len(t) for p, t in zip(prompts, targets, strict=True)]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    rows: list[int] = []
    columns: list[int] = []
    for i, (p, t) in enumerate(zip(prompts, targets, strict=True)):
        ids[i, : lengths[i]] = torch.tensor(p + t)
        rows += [i] * len(t)
        columns += range(len(p) - 1, lengths[i] - 1)
    ids = ids.to(device)
    hidden = model.model(input_ids=ids).last_hidden_state[rows, columns]  # causal: right padding needs no mask
    logits = model.lm_head(hidden)
    return F.cross_entropy(logits, ids[rows, torch.tensor(columns) + 1])


@torch.no_grad()
def sample_accuracy(
    model: Any, tokenizer: Any, problems: Sequence[Problem], role: str, *, new_tokens: int = 96
) -> dict[str, float]:
    """Accuracy at temperature 1 with plain `generate`, overall and by style of the text."""
    tokenizer.padding_side = "left"
    batch = tokenizer(
        [f"{role}{p.question}{SOLUTION}" for p in problems], add_special_tokens=False, padding=True, return_tensors="pt"
    )
    tokenizer.padding_side = "right"
    out = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        do_sample=True,
        top_k=0,
        max_new_tokens=new_tokens,
    )
    texts = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    verdicts = [grade(t, p.answer).value for t, p in zip(texts, problems, strict=True)]
    styles = ["steps" if "=" in t else "results" if t.count("\n") else "answer" for t in texts]
    result = {
        "accuracy": float(np.mean([v == "correct" for v in verdicts])),
        "invalid": float(np.mean([v == "invalid" for v in verdicts])),
    }
    for style in ("steps", "results", "answer"):
        picked = [v == "correct" for v, s in zip(verdicts, styles, strict=True) if s == style]
        result[f"share_{style}"] = len(picked) / len(texts)
        result[f"accuracy_{style}"] = float(np.mean(picked)) if picked else float("nan")
    return result
