"""Settings of a run's machine: device, threads and processes, sampling engine, and how often a phase is saved."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

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


def _address(value: object) -> object:
    """An address of a server as it was given. Raises ValueError for anything that is none."""
    if value is None:
        return None
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port that is no number, or is too large
        fits = False
    if not fits or parts.username or parts.query or parts.fragment:
        raise ValueError('write an address such as "http://localhost:8000"')
    return value


class VLLMSettings(Settings):
    """The vLLM sampling engine: in the trainer's process, whose GPU it shares, or a `vllm serve` somewhere."""

    memory: float = Field(0.4, gt=0, lt=1, description="Share of the GPU's memory that vLLM takes in this process.")
    max_length: int = Field(
        4096,
        ge=2,
        description="Longest prompt plus completion, in tokens, in this process; a server has its own limit.",
    )
    server: Annotated[str | None, BeforeValidator(_address)] = Field(
        None,
        description='Address of a running `vllm serve` that samples ("http://host:8000"; docs/gpus.md says how to start it). null: vLLM in this process.',
    )
    transfer: Literal["folder", "nccl"] = Field(
        "folder",
        description="How a server gets the prover's weights before each draw: as files in a folder that both see, or by NCCL from GPU to GPU.",
    )
    folder: str | None = Field(
        None,
        description="Where the weights lie for a moment with transfer: folder; the server must see it under the same name. null: the machine's folder for temporary files.",
    )
    timeout: float = Field(
        600, gt=0, le=86400, description="Seconds after which a server that has not answered a request is given up."
    )
    connect_timeout: float = Field(
        10, gt=0, le=3600, description="Seconds for reaching a server, and for answers that need no computing."
    )
    parallel_requests: int = Field(256, ge=1, le=4096, description="Completions that a server is asked for at once.")
    nccl_host: str | None = Field(
        None,
        description="Address of this machine by which a server's workers reach it, for transfer: nccl. null: the one that leads to the server.",
    )
    nccl_port: int | None = Field(
        None, ge=1, le=65535, description="Port of this machine for transfer: nccl. null: a free one."
    )


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
    shard: bool = Field(
        False,
        description="Spread the weights of prover, reference, critic and large verifiers over the ranks of torchrun (FSDP2), with their gradients and what the optimizer keeps. Each rank then holds its part; one whole model has to fit beside it while it samples.",
    )
    engine: Literal["fast", "hf", "vllm"] = Field("fast", description="Sampling engine.")
    vllm: VLLMSettings = Field(default_factory=VLLMSettings, description="Settings of the vllm engine.")
    checkpoint_every: Annotated[int | str | None, BeforeValidator(_steps_or_time)] = Field(
        "20m",
        description='How often a phase that trains a prover or a verifier saves where it is, so that --resume goes on from there: a number of steps (50) or a time ("20m"). Ctrl-C and SIGTERM save it too. null: never. Changes no result.',
    )
    rollout_batch: int = Field(128, ge=1, description="Completions decoded together; a GPU can take more.")
    score_batch: int = Field(256, ge=1, description="Texts the verifier scores together.")
