"""Teaching a nano verifier base to check steps, before any game.

Not in the paper, whose verifiers come from large pre-training and can follow a calculation. A nano base
that has only read solutions cannot: it judges by style, and PPO finds a hole in each round's verifier
within tens of steps (docs/log.md). Here every number and operator of a solution is labelled by
whether its line, so far, begins a true step of the problem; a linear head on the hidden state behind it
learns the label beside next-token prediction on right solutions, and is then dropped. Whether a
*solution* is right, a verifier still has to learn in the game.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast

from legibility.models.flat import packed_hidden
from legibility.models.nano import BOS, END, SOLUTION, NanoSize, trapezoid
from legibility.packing import PackedBatch, pack
from legibility.problems.generator import PRETRAIN_FAMILIES, change_a_number, flawed_solution, generate_problems, render
from legibility.problems.records import Problem

CURRICULUM = (  # share of the steps, and problem length -> weight
    (0.2, {1: 0.6, 2: 0.4}),
    (0.3, {2: 0.5, 3: 0.3, 4: 0.2}),
    (0.5, {2: 0.45, 3: 0.3, 4: 0.15, 5: 0.07, 6: 0.03}),
)
VARIANTS = 6  # solutions of a problem that share its prompt: one right, the others wrong
LM_WEIGHT = 0.5
MARKED = "0123456789+-*/"


def variants(problem: Problem, rng: np.random.Generator) -> list[str]:
    """A right step-by-step solution and wrong ones: flawed and carried on, one number changed, both."""
    right = render(problem.steps, problem.answer, "steps")
    wrong = []
    for k in range(1, VARIANTS):
        try:
            text = flawed_solution(problem, rng, {"steps": 1.0})[0] if k != VARIANTS - 2 else right
        except ValueError:  # no flaw fits this problem
            text = right
        wrong.append(change_a_number(text, rng) if text == right or k == VARIANTS - 1 else text)
    return [right, *wrong]


def step_labels(problem: Problem, pieces: Sequence[str]) -> list[bool | None]:
    """Per piece (decoded token) of a solution: does its line, up to here, begin a true step? None: not marked.

    Marked are numbers and operators before the answer line.
    """
    true_lines = [str(step) for step in problem.steps]
    labels: list[bool | None] = []
    line = ""
    for piece in pieces:
        line = "" if "\n" in piece else line + piece
        marked = piece.strip() and piece.strip() in MARKED and not line.startswith("####")
        labels.append(any(true.startswith(line) for true in true_lines) if marked else None)
    return labels


def teach_marking(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    size: NanoSize,
    *,
    seed: int,
    device: str = "cpu",
    log: Callable[[str], None] = print,
) -> dict[str, float]:
    """Train `model` in place for `size.marking_steps` steps of 16 problems with `VARIANTS` solutions each.

    Right and wrong labels weigh the same. Returns {"marking_tokens", "marking_seconds", "marking_loss",
    "marks_right" and "marks_wrong"}: shares of right and of wrong pieces recognised, over the last 100 steps.
    """
    model.to(device).train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = torch.nn.Linear(model.config.hidden_size, 1).to(device)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=size.marking_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: trapezoid(t, size.marking_steps))
    names = [str(tokenizer.decode([i])) for i in range(len(tokenizer))]
    started, tokens, history = time.time(), 0, []
    for step, batch in enumerate(marking_batches(size.marking_steps, seed, tokenizer), start=1):
        packed = batch.packed.to(device)
        hidden = packed_hidden(model, packed, "verifier")
        places: list[int] = []
        labels: list[bool] = []
        language: list[int] = []
        start = 0
        for problem, group in zip(batch.problems, batch.solutions, strict=True):
            for k, ids in enumerate(group):
                found = step_labels(problem, [names[i] for i in ids])
                places += [start + j + 1 for j, label in enumerate(found) if label is not None]
                labels += [label for label in found if label is not None]
                language += range(start, start + len(ids)) if k == 0 else ()
                start += len(ids) + 1
        right = torch.tensor(labels, dtype=torch.float32, device=device)
        logits = head(hidden[places]).squeeze(-1)
        share = right.mean().clamp(0.05, 0.95)
        marking = F.binary_cross_entropy_with_logits(
            logits, right, weight=torch.where(right > 0, 0.5 / share, 0.5 / (1 - share))
        )
        loss = marking + LM_WEIGHT * F.cross_entropy(model.lm_head(hidden[language]), packed.target[language])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        tokens += len(packed.ids)
        yes = logits.detach() > 0
        history.append((marking.item(), yes[right > 0].float().mean().item(), (~yes)[right == 0].float().mean().item()))
        if step % 100 == 0:
            log("marking step {} loss {:.4f} right {:.3f} wrong {:.3f}".format(step, *np.mean(history[-100:], axis=0)))
    model.eval()
    loss, seen_right, seen_wrong = np.mean(history[-100:], axis=0).tolist()
    return {
        "marking_tokens": float(tokens),
        "marking_seconds": time.time() - started,
        "marking_loss": loss,
        "marks_right": seen_right,
        "marks_wrong": seen_wrong,
    }


@dataclass(frozen=True)
class MarkingBatch:
    """One step's problems, the token ids of their variants, and both packed with one token behind each variant."""

    problems: list[Problem]
    solutions: list[list[list[int]]]
    packed: PackedBatch


def marking_batches(
    steps: int, seed: int, tokenizer: PreTrainedTokenizerFast, size: int = 16, chunk: int = 640
) -> Iterator[MarkingBatch]:
    """`steps` batches; problems grow longer, similar ones share a batch.

    A pure function of its arguments: `scripts/pretraining_questions.py` replays it to know what was read.
    """
    rng = np.random.default_rng([seed, 3])
    done, until, part = 0, 0.0, 0
    for share, lengths in CURRICULUM:
        until += share * steps
        while done < round(until):
            problems = generate_problems(
                chunk, seed * 1_009 + 900_000 + part, steps=lengths, families=PRETRAIN_FAMILIES
            )
            problems = sorted(problems, key=lambda p: len(p.question) + 40 * len(p.steps))
            starts = rng.permutation(range(0, chunk, size))[: round(until) - done]
            for start in starts:
                batch = [(p, variants(p, rng)) for p in problems[start : start + size]]
                prompts = [f"{BOS}{p.question}{SOLUTION}" for p, _ in batch]
                solutions = [
                    tokenizer([t + END for t in texts], add_special_tokens=False)["input_ids"] for _, texts in batch
                ]
                # one token more, so that the state behind every token of the solution is there to read
                packed = pack(
                    tokenizer(prompts, add_special_tokens=False)["input_ids"],
                    [[[*ids, 0] for ids in group] for group in solutions],
                )
                yield MarkingBatch([p for p, _ in batch], solutions, packed)
            done, part = done + len(starts), part + 1
