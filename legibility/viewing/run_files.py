"""What a run folder holds at this moment: files of completions, and the phase that is under way.

A finished phase has a DONE file; the two parts of a round become one file after it. A phase under way works in a hidden
folder, where a prover phase leaves a file of completions per step (`game.phases.STEPS`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from legibility.files import is_temporary
from legibility.game.phases import BASE, EARLIER, METRICS_LOG, STEPS, round_collection, round_folder, round_prover
from legibility.game.run_records import DONE

COMPLETIONS = "solutions.parquet"


@dataclass(frozen=True)
class CompletionFile:
    """A parquet file of completions as it was when the folder was looked at.

    place: where its completions are from, the same before and after a round's parts become one file: "base",
    "rounds/02", "evaluation/attacks/…". live: whether it is a step of a phase under way. stamp: size and time of the
    last change.
    """

    path: Path
    place: str
    live: bool
    stamp: tuple[int, int]

    @property
    def turn(self) -> int:
        """The part of the game: base text, rounds, other arms, evaluation."""
        tops = (BASE, "rounds", "arms", "evaluation")
        top = self.place.split("/")[0]
        return tops.index(top) if top in tops else len(tops)


@dataclass(frozen=True)
class PhaseUnderWay:
    """A phase that has begun and is not finished; `seconds` since it last wrote something.

    A killed run leaves one behind until it is resumed, so that a long silence may mean that nobody plays.
    """

    phase: str
    folder: Path
    seconds: float


def phase_folders(run: Path) -> Iterator[tuple[str, Path, bool]]:
    """Every phase's name, folder and whether it is under way, among the finished and the unfinished ones.

    Only folders that may be phases are looked into: not weights, checkpoints, figures, or what a shorter game left aside.
    """
    for folder, names, files in os.walk(run):
        here = Path(folder)
        hidden = here != run and is_temporary(here)
        if hidden or (DONE in files and here != run):
            name = here.name.removeprefix(".").removesuffix(".tmp") if hidden else here.name
            yield (here.relative_to(run).parent / name).as_posix(), here, hidden
            names.clear()
        names[:] = sorted(n for n in names if n not in (EARLIER, "figures", "scores", "trackers"))


def completion_files(run: Path) -> list[CompletionFile]:
    """The run's files of completions, in the order in which a game makes them."""
    found: list[CompletionFile] = []
    merged = {p.parent.relative_to(run).as_posix(): p for p in sorted(run.glob(f"rounds/*/{COMPLETIONS}"))}
    for place, path in merged.items():
        found += _file(path, place, live=False)
    for phase, folder, under_way in phase_folders(run):
        place = _place(phase)
        if under_way:
            for path in sorted((folder / STEPS).glob("*.parquet")):
                found += _file(path, place, live=True)
        elif place not in merged:
            found += _file(folder / COMPLETIONS, place, live=False)
    return sorted(found, key=lambda f: (f.turn, f.place, f.live, str(f.path)))


def under_way(run: Path) -> list[PhaseUnderWay]:
    """The phases under way, the one that wrote last first."""
    found = []
    for phase, folder, hidden in phase_folders(run):
        if hidden:
            times = [file_stamp(p)[1] for p in (folder, folder / METRICS_LOG)]
            found.append(PhaseUnderWay(phase, folder, max(0.0, time.time() - max(times) / 1e9)))
    return sorted(found, key=lambda p: p.seconds)


def _file(path: Path, place: str, *, live: bool) -> list[CompletionFile]:
    stamp = file_stamp(path)
    return [CompletionFile(path, place, live, stamp)] if stamp[0] else []


def file_stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change in nanoseconds; zeros where there is nothing (any more)."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _place(phase: str) -> str:
    parts = phase.split("/")
    if (
        len(parts) == 3
        and parts[1].isdigit()
        and phase in (round_prover(int(parts[1])), round_collection(int(parts[1])))
    ):
        return round_folder(int(parts[1]))
    return phase
