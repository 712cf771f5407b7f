"""A disk that fills up, and a folder that turns read-only, at every phase; then space again, and on to the end.

The command has to end with one line that names a path on that disk and what to do; given space, the same command
has to end with the folder of a run that always had it. The disk is a tmpfs of its own size in a mount namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from soaking.commands import MS_BIND, MS_RDONLY, MS_REMOUNT, Ended, call, legibility, mount, own_mounts
from soaking.kills import JOBS, Job
from soaking.settled import differences, settled
from soaking.world import World, copy

PAGE = 4096
FULL, READ_ONLY = "full", "read-only"
NAMES = (
    "train, 1 worker",
    "train, 2 workers",
    "evaluate",
    "attack, one at a time",
    "report",
    "compare",
    "export",
    "import",
    "analyze",
    "weak-to-strong",
)
"""The jobs that are tried, as `kills` names them."""


@dataclass
class Starved:
    """What became of a command. faults: what fell, with an example each."""

    name: str
    condition: str
    trials: int = 0
    refused: int = 0
    enough: int = 0
    same: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def fell(self, what: str) -> None:
        self.faults[what] = self.faults.get(what, 0) + 1


def run(world: World, folder: Path, *, until: float, steps: int = 12, names: tuple[str, ...] = NAMES) -> list[Starved]:
    """Every job on a disk with room for 0, 1/steps, 2/steps … of what it writes, then read-only after as much of it.

    Stops at the moment `until` (monotonic), each job at its share. Raises OSError where a process may have no mounts
    of its own.
    """
    found = []
    jobs = [job for job in JOBS if job.name in names]
    for k, job in enumerate(jobs):
        deadline = time.monotonic() + (until - time.monotonic()) / (len(jobs) - k)
        few = steps if job.name.startswith(("train", "evaluate")) else max(2, steps // 3)
        found += _starve(world, folder / f"job{k}", job, few, deadline)
    return found


def _starve(world: World, folder: Path, job: Job, steps: int, deadline: float) -> list[Starved]:
    full, still = Starved(job.name, FULL), Starved(job.name, READ_ONLY)
    place = folder / "place"
    target = job.start(world, place)
    before = copy(place, folder / "before")
    undisturbed = legibility(*job.command(world, target), before=job.before, folder=world.folder)
    if undisturbed.code != 0:
        full.fell(f"undisturbed: {_end(undisturbed)}")
        return [full]
    expected, start, end = settled(place), _pages(before), _pages(place)
    shares = sorted(range(steps), key=lambda k: (k * 7) % steps)  # early and late phases before all of them
    for k in shares:
        for row, trial in ((full, _fill), (still, _freeze)):
            if row.trials > 0 and time.monotonic() > deadline:
                continue
            copy(before, place)
            allowed = start + (end - start) * k // steps
            outcome = call(
                lambda trial=trial, allowed=allowed: trial(world, job, place, target, allowed, before), timeout=600
            )
            _note(row, outcome, expected, folder / "kept")
    shutil.rmtree(folder)
    return [full, still]


def _note(row: Starved, outcome: Ended, expected: dict[str, bytes], kept: Path) -> None:
    row.trials += 1
    if outcome.code != 0:
        row.fell(_end(outcome))
        return
    told = json.loads(outcome.out.splitlines()[-1])
    if told["fault"]:
        row.fell(told["fault"])
        return
    row.refused += told["refused"]
    row.enough += not told["refused"]
    wrong = differences(settled(kept), expected)
    if wrong:
        row.fell(f"another folder in the end ({', '.join(wrong[:3])})")
    else:
        row.same += 1


def _fill(world: World, job: Job, place: Path, target: Path, allowed: int, before: Path) -> None:
    """In a process of its own: a small disk, then a large one; the end is kept beside the place."""
    own_mounts()
    mount("none", place, "tmpfs", 0, f"size={allowed * PAGE + PAGE}")
    shutil.copytree(before, place, dirs_exist_ok=True, symlinks=True)
    first = _run(world, job, target)
    mount("none", place, "tmpfs", MS_REMOUNT, "size=512m")
    _finish(world, job, place, target, first, "space")


def _freeze(world: World, job: Job, place: Path, target: Path, allowed: int, before: Path) -> None:
    """In a process of its own: the command is killed once it has written as much, and goes on in a read-only place."""
    legibility(
        *job.command(world, target), before=job.before, folder=world.folder, kill_when=lambda: _pages(place) >= allowed
    )  # fmt: skip
    held = {p: p.stat().st_mtime_ns for p in place.rglob("*")}
    own_mounts()
    mount(place, place, None, MS_BIND, None)
    mount(place, place, None, MS_BIND | MS_REMOUNT | MS_RDONLY, None)
    first = _run(world, job, target)
    mount(place, place, None, MS_BIND | MS_REMOUNT, None)
    changed = [p for p in place.rglob("*") if held.get(p) != p.stat().st_mtime_ns]
    _finish(world, job, place, target, first, "read-only", changed)


def _run(world: World, job: Job, target: Path) -> Ended:
    return legibility(*job.command(world, target), before=job.before, folder=world.folder)


def _finish(
    world: World, job: Job, place: Path, target: Path, first: Ended, words: str, changed: list[Path] | None = None
) -> None:
    """Judge the starved command, run it again, keep what it leaves, and print the verdict as JSON."""
    line = first.err.splitlines()[-1] if first.err else ""
    fault = None
    done = first.code == 0 or (first.refused and "exists already" in line)
    if not done and not (first.refused and str(place) in line and words in line.lower() and ";" in line):
        fault = f"not one line with path and fix: {_end(first)}"
    elif changed:
        fault = f"changed though read-only: {changed[0].relative_to(place)}"
    else:
        second = _run(world, job, target)
        if second.code != 0 and not (second.refused and "exists already" in second.err):
            fault = f"does not go on: {_end(second)}"
    kept = copy(place, place.parent / "kept")
    assert kept.is_dir()
    print(json.dumps({"fault": fault, "refused": not done}))


def _pages(folder: Path) -> int:
    """Pages that the files under a folder take on a tmpfs. Somebody may be writing there, and taking folders away."""
    total = 0
    for where, folders, files in os.walk(folder):
        total += len(folders)
        for name in files:
            with suppress(FileNotFoundError):
                total += -(-os.stat(os.path.join(where, name)).st_size // PAGE)
    return total


def _end(ended: Ended) -> str:
    return f"exit {ended.code}{', hung' if ended.hung else ''}: {' '.join(ended.err.split())[-220:]}"


def table(rows: list[Starved]) -> str:
    """The rows as markdown, with their sum and every fault."""
    lines = [
        "| command | disk | trials | refused with one line | had room enough | same folder in the end | fell |",
        "|---|---|---|---|---|---|---|",
    ]

    def values(r: Starved) -> tuple[int, ...]:
        return r.trials, r.refused, r.enough, r.same, sum(r.faults.values())

    lines += [f"| {r.name} | {r.condition} | " + " | ".join(map(str, values(r))) + " |" for r in rows]
    lines.append("| **all** | | " + " | ".join(f"**{sum(n)}**" for n in zip(*map(values, rows), strict=True)) + " |")
    faults = [f"- {r.name}, {r.condition}: {n} × {fault}" for r in rows for fault, n in r.faults.items()]
    return "\n".join(["", *lines, *(["", *faults] if faults else []), ""])
