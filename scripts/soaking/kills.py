"""SIGKILL at random moments of every command that writes, each gone on with to its end.

The folder must come out as that of the run that nobody killed, byte for byte but for times and memory, a phase
that was finished when the kill came must not be made again, and no process may be left over.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from legibility.files import is_temporary
from soaking.commands import Ended, fixed_secrets, legibility
from soaking.settled import differences, settled
from soaking.world import ATTACK, World, copy

IN_A_ROW = 6
"""Kills of one folder before the command may end."""


@dataclass(frozen=True)
class Job:
    """A command to be killed. `share`: of all kills. `start`: lays out a folder to run in and returns what the
    command writes; `command`: its arguments, given that folder."""

    name: str
    share: int
    start: Callable[[World, Path], Path]
    command: Callable[[World, Path], list[object]]
    before: Callable[[], None] | None = None


@dataclass
class Killed:
    """What became of one command's kills."""

    name: str
    kills: int = 0
    finished: int = 0
    lost: int = 0
    redone: int = 0
    orphans: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def _fresh(world: World, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place / "run"


def _copy_of(source: str, *, without: tuple[str, ...] = ()) -> Callable[[World, Path], Path]:
    def start(world: World, place: Path) -> Path:
        target = copy(getattr(world, source), place / "run")
        for name in without:
            found = target / name
            shutil.rmtree(found) if found.is_dir() else found.unlink(missing_ok=True)
        return target

    return start


CHECKPOINTS = (
    "compute.checkpoint_every=1",
    "game.rounds=1",
    "game.held_out_judge=false",
    "game.correctness_arm=false",
    "verifier.updates=40",
    "ppo.steps=12",
)
"""A game that is mostly phases that train, which is saved at every step."""

EVALUATED = ("evaluation", "report.html", "figures")
JOBS = [
    Job("train, 1 worker", 24, _fresh, lambda w, p: w.train(p)),
    Job("train, 2 workers", 24, _fresh, lambda w, p: w.train(p, "compute.workers=2")),
    Job("train, checkpoints", 12, _fresh, lambda w, p: w.train(p, *CHECKPOINTS)),
    Job("evaluate", 16, _copy_of("finished", without=EVALUATED), lambda w, p: ["evaluate", p, *ATTACK]),
    Job("attack, one at a time", 10, _copy_of("finished", without=EVALUATED), lambda w, p: ["attack", p, *ATTACK]),
    Job(
        "attack, two side by side",
        4,
        _copy_of("finished", without=EVALUATED),
        lambda w, p: ["attack", p, *ATTACK, "attack.parallel=2"],
    ),
    Job("report", 8, _copy_of("finished", without=("report.html", "figures")), lambda w, p: ["report", p]),
    Job("compare", 6, _fresh, lambda w, p: ["compare", w.finished, w.second, "--out", p]),
    Job(
        "export",
        6,
        _fresh,
        lambda w, p: ["export", w.finished, "--out", p, "--per-condition", 4, "--raters", 3],
        fixed_secrets,
    ),
    Job("export to the hub's form", 6, _fresh, lambda w, p: ["export", w.finished, "--format", "hub", "--out", p]),
    Job("import", 6, _copy_of("study"), lambda w, p: ["import", p, w.judgments, "--from", "csv"]),
    Job("analyze", 6, _copy_of("study"), lambda w, p: ["analyze", p, "--simulated"]),
    Job("weak-to-strong", 10, _fresh, lambda w, p: ["weak-to-strong", w.experiment, "--out", p, "--resume"]),
]


def run(
    world: World, folder: Path, *, kills: int, seed: int, until: float, jobs: list[Job] | None = None
) -> list[Killed]:
    """Kill and go on until about `kills` kills or the moment `until` (`time.monotonic`), shared out as the jobs say.

    Whoever is short of time gets fewer kills, but every job at least one chain.
    """
    jobs = JOBS if jobs is None else jobs
    rng, total = random.Random(seed), sum(job.share for job in jobs)
    found = []
    for k, job in enumerate(jobs):
        left = sum(other.share for other in jobs[k:])
        deadline = time.monotonic() + (until - time.monotonic()) * job.share / left
        found.append(_kill(world, folder / f"job{k}", job, max(1, round(kills * job.share / total)), deadline, rng))
    return found


def _kill(world: World, folder: Path, job: Job, wanted: int, deadline: float, rng: random.Random) -> Killed:
    began = time.monotonic()
    result = Killed(job.name)
    reference = job.start(world, folder / "reference")
    undisturbed = _go(world, job, reference)
    if undisturbed.code != 0:
        result.lost += 1
        result.faults.append(f"undisturbed: {_said(undisturbed)}")
        return result
    expected, trial = settled(reference), 0
    while result.kills < wanted and (trial == 0 or time.monotonic() < deadline):
        trial += 1
        target = job.start(world, folder / "trial")
        sealed: dict[Path, int] = {}
        for _ in range(min(IN_A_ROW, wanted - result.kills)):
            ended = _go(world, job, target, kill_after=rng.uniform(0, undisturbed.seconds))
            result.orphans += ended.orphans
            if not ended.killed:
                break
            result.kills += 1
            done = [d for d in target.rglob("DONE") if not is_temporary(d.parent)]  # it had its name
            sealed |= {d: d.stat().st_mtime_ns for d in done}
        else:
            ended = _go(world, job, target)
            result.orphans += ended.orphans
        result.finished += 1
        there_already = ended.refused and "exists already" in ended.err  # killed after its last write
        wrong = differences(settled(target), expected) if ended.code == 0 or there_already else []
        if wrong or (ended.code != 0 and not there_already):
            result.lost += 1
            result.faults.append(f"differ: {', '.join(wrong[:5])}" if wrong else _said(ended))
        again = [d for d, moment in sealed.items() if not d.exists() or d.stat().st_mtime_ns != moment]
        result.redone += len(again)
    shutil.rmtree(folder)
    result.seconds = time.monotonic() - began
    return result


def _go(world: World, job: Job, target: Path, kill_after: float | None = None) -> Ended:
    return legibility(*job.command(world, target), kill_after=kill_after, before=job.before, folder=world.folder)


def _said(ended: Ended) -> str:
    return f"exit {ended.code}{', hung' if ended.hung else ''}: {' '.join(ended.err.split())[-300:]}"


def table(rows: list[Killed]) -> str:
    """The rows as markdown, with their sum and every fault."""
    lines = [
        "| command | kills | runs gone on with to their end | lost or different | finished phases made again | processes left over |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {r.name} | {r.kills} | {r.finished} | {r.lost} | {r.redone} | {r.orphans} |" for r in rows]
    sums = (sum(getattr(r, name) for r in rows) for name in ("kills", "finished", "lost", "redone", "orphans"))
    lines.append("| **all** | " + " | ".join(f"**{n}**" for n in sums) + " |")
    faults = [f"- {r.name}: {fault}" for r in rows for fault in dict.fromkeys(r.faults)]
    return "\n".join(["", *lines, *(["", *faults] if faults else []), ""])
