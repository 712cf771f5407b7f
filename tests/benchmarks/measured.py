"""Made-up measurements for the tests of the benchmarks."""

from __future__ import annotations

import dataclasses

from harness import laws, results
from harness.task import Task

PARAMETERS = {"body": 1000, "head": 100, "verifier": 10}


def step(total: float, rollout: float, scoring: float, **changes):
    return {
        "total": total, "rollout": rollout, "scoring": scoring, "update": total - rollout - scoring, "completions": 4,
        "prompts": 2, "generated_tokens": 40, "longest": 15, "prompt_tokens": 60, "verifier_tokens": 80, "reward": 0.0,
        "accuracy_helpful": 0.5, "accuracy_sneaky": 0.1, **changes,
    }  # fmt: skip


def record(trainer: str, *steps, **changes):
    return {
        "trainer": trainer, "task": "nano", "steps": list(steps), "warm_steps": [], "optimizer_steps": 8, "peak_mb": 900.0,
        "loaded_mb": 400.0, "parameters": PARAMETERS, "versions": {"torch": "2"}, **changes,
    }  # fmt: skip


def result_file(**changes):
    """A result file of a run with two turns."""
    task = dataclasses.asdict(Task("nano", "folder"))
    runs = {
        "ours-detached": [record("ours-detached", step(1, 0.2, 0.2), step(2, 0.4, 0.4)), record("ours-detached", step(1.5, 0.3, 0.3))],
        "trl-ppo": [record("trl-ppo", step(9, 1, 1)), record("trl-ppo", step(6, 1, 1), peak_mb=1400.0)],
    }  # fmt: skip
    return {
        "schema": 1, "benchmark": "ppo_vs_trl", "quick": False, "date": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "a processor", "cores": 2, "memory_gb": 8.0}, "commit": "abc", "threads": 2,
        "versions": {"torch": "2", "trl": None}, "matmul_gflops": 0.001, "workloads": {"nano": {"task": task, "records": runs}},
        "learning": {}, "skipped": ["x (why)"], **changes,
    }  # fmt: skip


def points():
    sizes = [(size, tokens) for size in (0.5e6, 2e6, 8e6) for tokens in (5e3, 2e4)]
    return [
        {
            "sweep": "model size", "parameters": n, "completions": 256, "samples": 4, "tokens": t, "mean_length": 20.0,
            "longest": 50, "peak_mb": 500.0, "matmul_fraction": 0.3, "steps": 3,
            **dict.fromkeys(("seconds", *results.PHASES), 0.7 * (n / 1e6) ** 0.8 * (t / 1e4) ** 1.1),
        }
        for n, t in sizes
    ]  # fmt: skip


def small_peak(*_):
    return 100.0


real_fit = laws.fit
