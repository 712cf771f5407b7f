"""Worker: this package's sampler, verifier and PPO on one task.

    python -m harness.ours TASK.json OUT.json detached|separate|plain

`plain` is the default critic without the package's engine: transformers' `generate`, and every
completion a padded row of its own behind its prompt, through the model's own forward. Under torchrun its ranks share
every step, and the first writes the record.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch

from harness import report
from harness.clock import Clock, resident_mb
from harness.reward import Reward
from harness.task import Task
from legibility.config import ComputeSettings, PPOSettings, ProverSettings
from legibility.forked_team import ForkedTeam
from legibility.launch import launch
from legibility.launched_team import LaunchedTeam
from legibility.models.prover import Prover
from legibility.packing import PackedBatch, pack
from legibility.ppo import PPO, Batch
from legibility.randomness import derive_seed, stream
from legibility.rollouts import sample
from legibility.sharded_team import ShardedTeam
from legibility.team import Team, workers_peak_mb


class PlainPPO(PPO):
    """PPO that shares no prompt and skips no padding."""

    def step(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with patch("legibility.models.flat.flat_decoder", lambda model: None):
            return super().step(*args, **kwargs)

    def _pack(self, batch: Batch, groups: Sequence[int]) -> PackedBatch:
        rows = [(batch.prompts[g], [completion.ids]) for g in groups for completion in batch.completions[g]]
        return pack(*zip(*rows, strict=True)).to(self.policy.device)


def run(task: Task, kind: str) -> dict[str, Any]:
    """All steps of the task; the worker's record."""
    torch.set_num_threads(task.threads)
    plain = kind == "plain"
    prover = Prover.load(ProverSettings(model=task.model, prompts=task.prompt_set), "cpu")
    place = launch()
    if place is None:
        team: Team = ForkedTeam(1 if plain else task.workers)
    elif task.shard:
        team = ShardedTeam.join_sharded(place, 600, "cpu")
    else:
        team = LaunchedTeam.join(place, timeout=600)
    reward = Reward(task, prover.tokenizer, prover.end_ids, team)
    ppo = (PlainPPO if plain else PPO)(
        prover,
        PPOSettings(
            critic="detached" if plain else kind, samples_per_role=task.samples, epochs=task.epochs,
            minibatch_size=task.minibatch, micro_batch_size=task.minibatch, learning_rate=task.learning_rate,
            kl_coefficient=task.kl,
        ),
        team,
    )  # fmt: skip
    clock, optimizer_steps = Clock(), 0

    def count(*_: Any) -> None:
        nonlocal optimizer_steps
        optimizer_steps += 1

    loaded = resident_mb(peak=False)
    with team.together(prover, ppo, ppo.value_head, reward.verifier, gradients=sum(p.numel() for p in ppo.trained)):
        # in here: what watches this process is not sent to the others
        ppo._score = clock.timed(ppo._score, "scoring")
        ppo.optimizer.register_step_post_hook(count)
        for step, items in enumerate(task.items()):
            clock.begin()
            with clock.phase("rollout"):
                prompts = [prover.prompt_ids(problem, role) for problem, role in items]
                drawn = sample(
                    prover, prompts, task.samples, seed=derive_seed(task.seed, "rollout", step),
                    max_new_tokens=task.max_new_tokens, engine="hf" if plain else "fast",
                    batch=task.completions if plain else ComputeSettings().rollout_batch, value_head=ppo.sampling_head,
                    team=team,
                )  # fmt: skip
            with clock.phase("scoring"):
                rows = [item for item in items for _ in range(task.samples)]
                paid = reward(rows, [c.ids for group in drawn for c in group])
            ppo.step(Batch(prompts, drawn, paid), stream(task.seed, "update", step))
        clock.end()
        held = team.run(PPO.held_bytes, ppo)
    team.close()
    parameters = report.sizes(prover.causal, reward.verifier.model)
    memory = loaded, optimizer_steps, workers_peak_mb()
    return {**report.build(f"ours-{kind}", task, clock, reward, parameters, *memory), "held": held}


if __name__ == "__main__":
    task_file, out_file, kind = sys.argv[1:]
    if (place := launch()) is not None and place.rank > 0:
        os._exit(LaunchedTeam.serve(place))
    report.write(out_file, run(Task.load(task_file), kind))
