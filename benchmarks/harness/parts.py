"""Worker: CPU seconds of every part of a PPO step of this package, and what it holds above its libraries.

    python -m harness.parts TASK.json OUT.json

Seconds are the process's own, of one thread, so that a shared machine disturbs them least.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from harness.clock import resident_mb
from harness.reward import Reward
from harness.task import Task
from legibility.config import ComputeSettings, PPOSettings, ProverSettings
from legibility.models.prover import Prover
from legibility.planning.devices import this_cpu
from legibility.ppo import PPO, Batch
from legibility.randomness import derive_seed, stream
from legibility.rollouts import Completion, sample

T = TypeVar("T")
PARTS = ("sampling", "verifier", "scoring", "update")


def settings(task: Task) -> PPOSettings:
    """The task's PPO."""
    return PPOSettings(
        problems_per_step=task.prompts // 2, samples_per_role=task.samples, epochs=task.epochs,
        minibatch_size=task.minibatch, micro_batch_size=task.minibatch, learning_rate=task.learning_rate,
        kl_coefficient=task.kl,
    )  # fmt: skip


def answers_of_the_longest(task: Task, drawn: list[list[Completion]]) -> float:
    """Mean length of the answers in the largest minibatch, which is what memory has to last for."""
    lengths = sorted(sum(len(c.ids) for c in group) for group in drawn)
    groups = task.minibatch // task.samples
    return sum(lengths[-groups:]) / groups / task.samples


def run(task: Task) -> dict[str, Any]:
    """Medians over the measured steps, lengths of the texts, and this machine as `legibility plan --cpu` measures it."""
    torch.set_num_threads(1)
    device = this_cpu(1)
    before = resident_mb(peak=False)
    prover = Prover.load(ProverSettings(model=task.model, prompts=task.prompt_set), "cpu")
    reward = Reward(task, prover.tokenizer, prover.end_ids)
    ppo = PPO(prover, settings(task))
    longest: list[float] = []
    spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def timed(part: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        spent[part].append(time.process_time() - started)
        return result

    score = ppo._score
    ppo._score = lambda *arguments: timed("scoring", lambda: score(*arguments))  # type: ignore[method-assign]
    for step, items in enumerate(task.items()):
        prompts = [prover.prompt_ids(problem, role) for problem, role in items]
        seed = derive_seed(task.seed, "rollout", step)
        drawn = timed(
            "sampling",
            lambda prompts=prompts, seed=seed: sample(
                prover, prompts, task.samples, seed=seed, max_new_tokens=task.max_new_tokens,
                batch=ComputeSettings().rollout_batch, value_head=ppo.sampling_head,
            ),
        )  # fmt: skip
        rows = [item for item in items for _ in range(task.samples)]
        paid = timed("verifier", lambda rows=rows, drawn=drawn: reward(rows, [c.ids for group in drawn for c in group]))
        batch, rng = Batch(prompts, drawn, paid), stream(task.seed, "update", step)
        timed("update", lambda batch=batch, rng=rng: ppo.step(batch, rng))
        spent["update"][-1] -= spent["scoring"][-1]
        longest.append(answers_of_the_longest(task, drawn))
    seen = reward.statistics()
    texts = reward.verifier.encode([problem for problem, _ in task.items()[0]], [""] * task.prompts)
    return {
        "seconds": {part: statistics.median(times[task.warm :]) for part, times in spent.items()},
        "memory_mb": resident_mb(peak=True) - before,
        "prompt": sum(s["prompt_tokens"] for s in seen) / sum(s["prompts"] for s in seen),
        "answer": sum(s["generated_tokens"] for s in seen) / sum(s["completions"] for s in seen),
        "longest_minibatch": max(longest),
        "prompt_for_verifier": sum(map(len, texts)) / len(texts),
        "device": asdict(device),
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(run(Task.load(sys.argv[1]))), encoding="utf-8")
