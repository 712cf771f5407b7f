"""Worker: this package's sampler, verifier and PPO on one task.

    python -m harness.ours TASK.json OUT.json detached|separate
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from harness import report
from harness.clock import Clock, resident_mb
from harness.reward import Reward
from harness.task import Task
from legibility.config import ComputeSettings, PPOSettings, ProverSettings
from legibility.models.prover import Prover
from legibility.ppo import PPO, Batch
from legibility.randomness import derive_seed, stream
from legibility.rollouts import sample


def run(task: Task, critic: str) -> dict[str, Any]:
    """All steps of the task; the worker's record."""
    torch.set_num_threads(task.threads)
    prover = Prover.load(ProverSettings(model=task.model, prompts=task.prompt_set), "cpu")
    reward = Reward(task, prover.tokenizer, prover.end_ids)
    ppo = PPO(
        prover,
        PPOSettings(
            critic=critic, samples_per_role=task.samples, max_new_tokens=task.max_new_tokens, epochs=task.epochs,
            minibatch_size=task.minibatch, micro_batch_size=task.minibatch, learning_rate=task.learning_rate,
            kl_coefficient=task.kl,
        ),
    )  # fmt: skip
    clock = Clock()
    ppo._score = clock.timed(ppo._score, "scoring")
    optimizer_steps = 0

    def count(*_: Any) -> None:
        nonlocal optimizer_steps
        optimizer_steps += 1

    ppo.optimizer.register_step_post_hook(count)
    loaded = resident_mb(peak=False)
    for step, items in enumerate(task.items()):
        clock.begin()
        with clock.phase("rollout"):
            prompts = [prover.prompt_ids(problem, role) for problem, role in items]
            drawn = sample(
                prover, prompts, task.samples, seed=derive_seed(task.seed, "rollout", step),
                max_new_tokens=task.max_new_tokens, batch=ComputeSettings().rollout_batch, value_head=ppo.sampling_head,
            )  # fmt: skip
        with clock.phase("scoring"):
            rows = [item for item in items for _ in range(task.samples)]
            paid = reward(rows, [c.ids for group in drawn for c in group])
        ppo.step(Batch(prompts, drawn, paid), stream(task.seed, "update", step))
    clock.end()
    parameters = report.sizes(prover.causal, reward.verifier.model)
    return report.build(f"ours-{critic}", task, clock, reward, parameters, loaded, optimizer_steps)


if __name__ == "__main__":
    task_file, out_file, kind = sys.argv[1:]
    report.write(out_file, run(Task.load(task_file), kind))
