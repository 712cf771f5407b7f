"""How this process was started: alone, or by torchrun or `accelerate launch` as one rank of several.

Launchers tell each process its place in environment variables. They are read once and then taken away, so that no
library that we use alone (accelerate, datasets) takes this process for a part of its own distributed run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from legibility.errors import UserError

LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
ACCELERATE = ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""What `accelerate launch` sets for its own Accelerator; our settings decide these things."""


@dataclass(frozen=True)
class Launch:
    """A rank's place. `local_rank` is its place on its machine, `local_size` how many ranks that machine has."""

    rank: int
    size: int
    local_rank: int
    local_size: int


_found: Launch | None = None
_looked = False


def launch() -> Launch | None:
    """This process's place among the ranks of a launcher; None: it is the only process.

    Raises UserError where the variables of a launcher are there and do not say what they have to.
    """
    global _found, _looked
    if not _looked:
        _found = _read(os.environ)
        _looked = True
    return _found


def _read(environment: os._Environ[str] | dict[str, str]) -> Launch | None:
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    try:
        size = int(environment["WORLD_SIZE"])
        rank, local_rank = int(environment["RANK"]), int(environment.get("LOCAL_RANK", environment["RANK"]))
        local_size = int(environment.get("LOCAL_WORLD_SIZE", size))
    except ValueError:
        raise UserError("RANK, WORLD_SIZE: no numbers; start with torchrun, or unset them") from None
    if not 0 <= rank < size:
        raise UserError(f"RANK: {rank} is no rank of WORLD_SIZE {size}; start with torchrun, or unset them")
    port = environment.get("MASTER_PORT", "")
    if size > 1 and not (environment.get("MASTER_ADDR") and port.isdecimal() and int(port) < 1 << 16):
        raise UserError("MASTER_ADDR, MASTER_PORT: no place to meet rank 0 at; start with torchrun, or unset RANK")
    return Launch(rank, size, local_rank, local_size) if size > 1 else None


def hide_launcher() -> None:
    """Take the launcher's variables away, once the ranks have found each other."""
    for name in (*LAUNCHED, *ACCELERATE):
        os.environ.pop(name, None)


@contextmanager
def launched_as(place: Launch | None, threads: int) -> Iterator[None]:
    """A block in which the environment says that this process has that place; None: that nothing launched it.

    For libraries that look for a launcher and find a process group that is there already. threads: what each process
    computes with, which they would otherwise guess.
    """
    said = {"OMP_NUM_THREADS": str(threads)}
    if place is not None:
        said |= {
            "RANK": str(place.rank),
            "WORLD_SIZE": str(place.size),
            "LOCAL_RANK": str(place.local_rank),
            "LOCAL_WORLD_SIZE": str(place.local_size),
            "MASTER_ADDR": "localhost",  # asked for, and never dialled
            "MASTER_PORT": "29500",
        }
    names = {*LAUNCHED, *ACCELERATE, "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"}
    kept = {name: os.environ[name] for name in names if name in os.environ}
    try:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(said)
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(kept)
