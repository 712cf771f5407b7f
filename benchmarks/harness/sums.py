"""Worker: seconds of one sum of gradients over the ranks of torchrun, against its bytes.

    python -m torch.distributed.run --nproc-per-node 2 -m harness.sums OUT.json

Nothing else runs meanwhile, so these are the times of the transport, and no rank waits for another's work.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from legibility.launch import launch
from legibility.launched_team import LaunchedTeam
from legibility.team import Team

NUMBERS = (1 << 8, 1 << 14, 1 << 18, 1 << 20, 1 << 22, 1 << 24)
"""float32 numbers of a sum: 1 KB to 67 MB."""


def timed(team: Team, numbers: int, repeats: int) -> list[float]:
    """Seconds of each of some sums. Called on every rank."""
    tensor, seconds = torch.ones(numbers), []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        team.add([tensor])
        tensor.fill_(1.0)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def run(team: Team, repeats: int = 9, sizes: tuple[int, ...] = NUMBERS) -> dict[str, Any]:
    """Median seconds by bytes."""
    with team.together():
        found = {4 * n: statistics.median(team.run(timed, team, n, repeats)[0]) for n in sizes}
    return {"ranks": team.workers, "sums": [{"bytes": size, "seconds": seconds} for size, seconds in found.items()]}


if __name__ == "__main__":
    place = launch()
    if place is None:
        raise SystemExit("start it with torchrun")
    if place.rank > 0:
        os._exit(LaunchedTeam.serve(place))
    with LaunchedTeam.join(place, timeout=600) as ranks:
        record = run(ranks)
    Path(sys.argv[1]).write_text(json.dumps(record, indent=1), encoding="utf-8")
