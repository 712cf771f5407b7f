"""The worker that times every part of a step."""

from __future__ import annotations

from dataclasses import replace

from harness import parts
from harness.task import Task
from ppo_vs_trl import nano_prover


def test_a_step_is_timed_part_by_part():
    task = replace(Task("plan", nano_prover()), prompts=4, samples=2, max_new_tokens=8, minibatch=4, warm=0, steps=1)
    record = parts.run(task)
    assert set(record["seconds"]) == set(parts.PARTS) and all(s > 0 for s in record["seconds"].values())
    assert 0 < record["answer"] <= record["longest_minibatch"] <= 8 and record["prompt"] > record["answer"]
    assert record["device"]["name"] == "cpu" and record["memory_mb"] >= 0
