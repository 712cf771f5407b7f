"""What a worker hands back: one JSON file of its steps, memory, sizes and versions."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.clock import Clock, resident_mb
from harness.reward import Reward
from harness.task import Task


def sizes(model: Any, verifier: Any) -> dict[str, int]:
    """Parameters by what they cost: body (every token), head (predicted tokens only), verifier (its tokens)."""
    total = sum(p.numel() for p in model.parameters())
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tied = embedding.data_ptr() == head.data_ptr()
    read = verifier.get_input_embeddings().weight
    return {
        "body": total - embedding.numel() - (0 if tied else head.numel()),
        "head": head.numel(),
        "verifier": sum(p.numel() for p in verifier.parameters()) - read.numel(),
    }


def build(
    trainer: str,
    task: Task,
    clock: Clock,
    reward: Reward,
    parameters: dict[str, int],
    loaded_mb: float,
    optimizer_steps: int,
    workers_mb: float = 0.0,
) -> dict[str, Any]:
    """The record of a finished worker. `loaded_mb`: resident memory just before the first step; `workers_mb`: memory
    of further processes beyond what they share with this one."""
    steps = [{**times, **counts} for times, counts in zip(clock.steps, reward.statistics(), strict=True)]
    return {
        "trainer": trainer,
        "task": task.name,
        "steps": steps[task.warm :],
        "warm_steps": steps[: task.warm],
        "optimizer_steps": optimizer_steps,
        "peak_mb": max(resident_mb(peak=True), loaded_mb)
        + workers_mb,  # the kernel's high-water mark may lag a few kilobytes
        "loaded_mb": loaded_mb,
        "parameters": parameters,
        "versions": {"python": platform.python_version(), **versions("torch", "transformers", "trl")},
    }


def versions(*packages: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def write(path: str | Path, record: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(record, indent=1), encoding="utf-8")
