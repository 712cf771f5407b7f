"""Settings of a run's machine: device, threads and processes, sampling engine, and how often a phase is saved."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from legibility.settings import Settings

_TIME = re.compile(r"(\d+(?:\.\d+)?)([smh])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(time: str) -> float:
    """What "90s", "20m" and "2h" are in seconds. Raises ValueError for anything else, and for no time at all."""
    found = _TIME.fullmatch(time)
    if found is None or not float(found[1]):
        raise ValueError('write a number of steps (50) or a time ("90s", "20m", "2h")')
    return float(found[1]) * _SECONDS[found[2]]


def _steps_or_time(value: object) -> object:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    seconds(value if isinstance(value, str) else "")
    return value


class VLLMSettings(Settings):
    """The vLLM sampling engine, which shares the GPU with the trainer."""

    memory: float = Field(0.4, gt=0, lt=1, description="Share of the GPU's memory that vLLM takes.")
    max_length: int = Field(4096, ge=2, description="Longest prompt plus completion, in tokens.")


class ComputeSettings(Settings):
    """Where and how to compute."""

    device: str = Field("auto", description='"cpu", "cuda", "cuda:1", "mps" or "auto".')
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads (null: all cores); results are byte-equal only at equal counts."
    )
    workers: int = Field(
        1,
        ge=1,
        le=1024,
        description="Processes of one thread each that share the work of every phase on a CPU (Linux only). For small models this is faster than threads. Results are byte-equal only at equal counts.",
    )
    rank_timeout: float = Field(
        1800, gt=0, le=86400, description="Seconds after which a rank of torchrun that does not answer is given up."
    )
    engine: Literal["fast", "hf", "vllm"] = Field("fast", description="Sampling engine.")
    vllm: VLLMSettings = Field(default_factory=VLLMSettings, description="Settings of the vllm engine.")
    checkpoint_every: Annotated[int | str | None, BeforeValidator(_steps_or_time)] = Field(
        "20m",
        description='How often a phase that trains a prover or a verifier saves where it is, so that --resume goes on from there: a number of steps (50) or a time ("20m"). Ctrl-C and SIGTERM save it too. null: never. Changes no result.',
    )
    rollout_batch: int = Field(128, ge=1, description="Completions decoded together; a GPU can take more.")
    score_batch: int = Field(256, ge=1, description="Texts the verifier scores together.")
