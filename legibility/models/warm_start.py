"""Supervised warm start: teach a pretrained LM to answer in the game's form before the game begins.

Kirchner et al. start from a model that already writes graded solutions; a small LM that has never seen the marker
line solves nothing at first, and a policy without a single success gives PPO nothing to learn from. This module
fine-tunes on (prompt, completion) texts and writes an ordinary model folder, adapter merged, that serves as the game's
base policy.

The forward pass is PPO's own (`Prover.hidden_and_logprobs`): no padding, logits of completion tokens only, and the
prompt ids that sampling will see. On texts of uneven length that is most of the cost of a padded trainer (docs/log.md).
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from transformers.utils import logging as hf_logging

from legibility.checkpoint_files import put_back, trained_tensors
from legibility.checkpoints import Checkpoints, Restored
from legibility.divergence import refuse_divergence
from legibility.errors import UserError
from legibility.models.control_tokens import ControlTokens
from legibility.models.loading import encode_prompt
from legibility.models.prover import Prover, adapted
from legibility.models.saving import mode, save_model
from legibility.packing import pack
from legibility.prompts import PromptSet
from legibility.stored import Stored

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PASS_TOKENS = 4096  # tokens of one forward pass at most; the gradients of larger batches accumulate
MAX_GRAD_NORM = 1.0
DIVERGED = "lower prover.warm_start.learning_rate; nothing was saved"


class WarmStartSoFar(Stored):
    """state.json of a warm start: what it knows beside the weights. Batches are drawn again from the seed."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    losses: list[float] = Field(description="The loss of every update so far.")
    tokens: int = Field(description="Tokens trained on so far.")


@dataclass(frozen=True)
class Pair:
    """Token ids of a prompt, and of the completion with the one EOS behind it."""

    prompt: list[int]  # without a prompt and without BOS: the completion's first token
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def warm_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    out: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    max_length: int,
    seed: int,
    lora: LoraConfig | None = None,
    device: str | torch.device = "cpu",
    bf16: bool = False,
    on_step: Callable[[int, float], None] | None = None,
    checkpoints: Checkpoints | None = None,
    found: Restored[WarmStartSoFar] | None = None,
) -> dict[str, float | int]:
    """Fine-tune `model` on `pairs` for `steps` updates and save it, merged, with its tokenizer in `out`.

    A pair is (prompt, completion): rendered text, any chat template already applied. Only the completion and the one
    EOS put after it carry loss. Pairs longer than `max_length` tokens are left out, not cut, since a cut one would
    teach the model not to stop. AdamW, linear warm-up over a tenth of the steps, then linear decay; every pair is seen
    once before any is seen again. Dropout is off, as it is in the game. `on_step(step, loss)` is called after every step.

    `lora` trains an adapter and merges it at the end; None trains all weights. `bf16` is mixed precision: the weights
    keep the dtype they came in (load them in fp32). `device` is "cpu" or "cuda".

    `model` is trained in place and consumed; load `out` for what comes next. Same inputs and seed give the same
    weights on the same machine. With `checkpoints` the training is saved now and then, and goes on from the one `found`. Returns `steps`, `seconds`, `tokens` seen (prompts included, padding not),
    `first_loss` and `last_loss` (nats per supervised token, means over the first and last tenth of the steps),
    `pairs` used and `dropped`.

    Raises UserError where `out` is not empty, no pair fits, the tokenizer has no EOS, or the loss diverges.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"warm start: {out} exists and is not empty; choose another folder or move it away")
    if steps < 1 or batch_size < 1:
        raise UserError(f"warm start: steps ({steps}) and batch size ({batch_size}) must be at least 1")
    rows = encode_pairs(tokenizer, pairs, max_length)
    if not rows:
        raise UserError(f"warm start: none of the {len(pairs)} pairs fits in max_length {max_length}; raise it")

    started = time.perf_counter()
    learner = new_learner(model, tokenizer, lora, seed, torch.device(device))
    optimizer = torch.optim.AdamW(
        [p for p in learner.model.parameters() if p.requires_grad], lr=learning_rate, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses: list[float] = []
    tokens = 0
    if found is not None:
        put_back(found.tensors, trained_tensors(learner.model, optimizer))
        losses, tokens = list(found.state.losses), found.state.tokens

    def so_far() -> tuple[dict[str, torch.Tensor], WarmStartSoFar]:
        return trained_tensors(learner.model, optimizer), WarmStartSoFar(losses=losses, tokens=tokens)

    whole: Callable[[int], AbstractContextManager[object]] = nullcontext if checkpoints is None else checkpoints.step
    with nullcontext() if checkpoints is None else checkpoints.during(so_far):
        for step, batch in enumerate(batches(rows, steps, batch_size, np.random.default_rng(seed)), start=1):
            if step <= (0 if found is None else found.step):  # made in another session
                schedule.step()
                continue
            with whole(step):
                loss = update(learner, batch, optimizer, bf16)
                schedule.step()
                refuse_divergence(f"warm start, step {step}", {"the loss": loss}, DIVERGED)
                losses.append(loss)
                tokens += sum(map(len, batch))
                if on_step is not None:
                    on_step(step, loss)
    refuse_divergence("warm start, last step", {}, DIVERGED, learner.model.parameters())
    if lora is not None:
        learner.model.merge_and_unload()  # merges into `model` itself
    _save(model.eval(), tokenizer, out)
    tenth = max(1, len(losses) // 10)
    return {
        "steps": len(losses),
        "seconds": time.perf_counter() - started,
        "tokens": tokens,
        "first_loss": float(np.mean(losses[:tenth])),
        "last_loss": float(np.mean(losses[-tenth:])),
        "pairs": len(rows),
        "dropped": len(pairs) - len(rows),
    }


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], max_length: int) -> list[Pair]:
    """The pairs that fit, tokenised.

    The prompt's ids are those of the prompt alone, as in sampling. The completion's are its ids in context; where a
    token would merge across the border (a prompt that ends in a space, say), its ids on its own.
    """
    eos, eos_text = tokenizer.eos_token_id, tokenizer.eos_token
    if eos is None:
        raise UserError(
            "warm start: the tokenizer has no EOS token, so the model could not learn to stop; use another model"
        )
    control, rows = ControlTokens.of(tokenizer), []
    for prompt, completion in pairs:
        completion = control.plain(completion.removesuffix(eos_text))
        head = encode_prompt(tokenizer, prompt)
        whole = encode_prompt(tokenizer, prompt + completion)
        if whole[: len(head)] == head:
            tail = whole[len(head) :]
        else:
            tail = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
        if not head:  # something has to predict the first token
            head, tail = tail[:1], tail[1:]
        pair = Pair(head, [*tail, eos])
        if len(pair) <= max_length:
            rows.append(pair)
    return rows


def new_learner(model: Any, tokenizer: Any, lora: LoraConfig | None, seed: int, device: torch.device) -> Prover:
    """The model in training mode, with a fresh adapter where one is asked for."""
    if lora is not None:
        model = adapted(model, copy.deepcopy(lora), seed)  # peft fills in target modules
    prompts = PromptSet(helpful="{problem}", sneaky="{problem}")  # pairs are rendered already
    learner = Prover(model.to(device), tokenizer, prompts, device=str(device))
    learner.model.train()
    return learner


def update(learner: Prover, batch: Sequence[Pair], optimizer: torch.optim.Optimizer, bf16: bool) -> float:
    """One update. Returns its loss, in nats per completion token."""
    kind = torch.device(learner.device).type
    supervised, total = sum(len(row.completion) for row in batch), 0.0
    for part in _passes(batch):
        packed = pack([row.prompt for row in part], [[row.completion] for row in part]).to(learner.device)
        with torch.autocast(kind, torch.bfloat16) if bf16 else nullcontext():
            _, logprobs = learner.hidden_and_logprobs(packed)
        loss = -logprobs.sum() / supervised
        loss.backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def _rate(step: int, steps: int) -> float:
    """The learning rate's factor at a step, counted from 0."""
    warm_up = steps // 10
    return step / warm_up if step < warm_up else (steps - step) / (steps - warm_up)


def batches(rows: Sequence[Pair], steps: int, size: int, rng: np.random.Generator) -> Iterator[list[Pair]]:
    """`steps` batches of `size` rows; a batch may hold the end of one pass over all rows and the start of the next."""
    queue: list[int] = []
    for _ in range(steps):
        while len(queue) < size:
            queue += rng.permutation(len(rows)).tolist()
        chosen, queue = queue[:size], queue[size:]
        yield [rows[i] for i in chosen]


def _passes(batch: Sequence[Pair]) -> Iterator[list[Pair]]:
    """The batch in parts of at most `PASS_TOKENS` tokens (or one row), rows of like length together."""
    part: list[Pair] = []
    for row in sorted(batch, key=len):
        if part and sum(map(len, part)) + len(row) > PASS_TOKENS:
            yield part
            part = []
        part.append(row)
    yield part


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """Write the folder beside its place and move it there, so that it is whole or absent."""
    out.parent.mkdir(parents=True, exist_ok=True)
    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        scratch.chmod(mode(0o777))
        save_model(model, scratch)
        tokenizer.save_pretrained(scratch)
        if out.exists():
            out.rmdir()  # empty, checked at the start
        os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if bars:
            hf_logging.enable_progress_bar()
