"""Random ranks of a game of torchrun, killed at random moments; gone on with by as many ranks, and by another number.

With as many ranks the run has to come out as the one that nobody killed, byte for byte but for times and memory. With
other numbers it has to end, and a phase that was finished when the kill came must not be made again. Nobody may live
on, and what is said on the way is one message.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from legibility.files import is_temporary
from soaking.commands import TIMEOUT, end_orphans
from soaking.kills import CHECKPOINTS, IN_A_ROW, Killed
from soaking.settled import differences, settled
from soaking.world import World

ROOT = Path(__file__).resolve().parents[2]
SAME, CHANGING = (2,), (1, 2, 3)
"""Numbers of ranks that a chain of kills goes through."""


@dataclass(frozen=True)
class Game:
    """How a launched game ended. `code`: the launcher's. `killed`: a rank was, before the end."""

    code: int
    said: str
    seconds: float
    killed: bool
    orphans: int


def run(world: World, folder: Path, *, kills: int, seed: int, until: float) -> list[Killed]:
    """About `kills` kills, half of each kind, or until a moment (`time.monotonic`); every kind at least one chain."""
    rng = random.Random(seed)
    middle = time.monotonic() + (until - time.monotonic()) / 2
    return [
        _kill(world, folder / "same", "2 ranks each time", SAME, kills // 2, rng, middle),
        _kill(world, folder / "changing", "1, 2 or 3 ranks", CHANGING, kills - kills // 2, rng, until),
    ]


def _kill(
    world: World, folder: Path, name: str, sizes: tuple[int, ...], wanted: int, rng: random.Random, deadline: float
) -> Killed:
    began, result = time.monotonic(), Killed(name)
    undisturbed = _play(world, folder / "reference" / "run", 2)
    if undisturbed.code != 0:
        result.lost += 1
        result.faults.append(f"undisturbed: {_end(undisturbed)}")
        return result
    expected, trial = settled(folder / "reference" / "run"), 0
    while result.kills < wanted and (trial == 0 or time.monotonic() < deadline):
        trial += 1
        target, sealed = folder / f"trial{trial}" / "run", dict[Path, int]()
        for _ in range(min(IN_A_ROW, wanted - result.kills)):
            ended = _play(world, target, rng.choice(sizes), kill_after=rng.uniform(0, undisturbed.seconds), rng=rng)
            result.orphans += ended.orphans
            if not ended.killed:
                break
            result.kills += 1
            if ended.said.count("error: ") + ended.said.count("\nstopped by ") > 1:
                result.faults.append(f"more than one message: {_end(ended)}")
                result.lost += 1
            done = [d for d in target.rglob("DONE") if not is_temporary(d.parent)]
            sealed |= {d: d.stat().st_mtime_ns for d in done}
        else:
            ended = _play(world, target, rng.choice(sizes))
            result.orphans += ended.orphans
        result.finished += 1
        wrong = differences(settled(target), expected) if sizes == SAME else _missing(target, expected)
        if wrong or ended.code != 0:
            result.lost += 1
            result.faults.append(f"differ: {', '.join(wrong[:5])}" if wrong and ended.code == 0 else _end(ended))
        result.redone += sum(not d.exists() or d.stat().st_mtime_ns != moment for d, moment in sealed.items())
        shutil.rmtree(target.parent)
    shutil.rmtree(folder)
    result.seconds = time.monotonic() - began
    return result


def _missing(target: Path, expected: dict[str, bytes]) -> list[str]:
    """Files that the undisturbed game made and this one did not."""
    return [name for name in expected if not (target / name).is_file()]


def _play(
    world: World, out: Path, ranks: int, kill_after: float | None = None, rng: random.Random | None = None
) -> Game:
    """The tiny game by so many ranks, one of which gets SIGKILL after a while."""
    arguments = world.train(out, *CHECKPOINTS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", ranks, "-m", "legibility", *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        started = time.monotonic()
        launcher = subprocess.Popen(
            list(map(str, command)), stdout=said, stderr=said, cwd=world.folder, env=environment, start_new_session=True
        )
        killed = kill_after is not None and _kill_a_rank(launcher, started + kill_after, rng or random.Random(0))
        try:
            code = launcher.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            launcher.kill()
            code = launcher.wait()
        seconds = time.monotonic() - started
        orphans = end_orphans(launcher.pid)
        said.seek(0)
        return Game(code, said.read(), seconds, killed, orphans)


def _kill_a_rank(launcher: subprocess.Popen[bytes], moment: float, rng: random.Random) -> bool:
    """SIGKILL for one of a launcher's ranks at a moment, or as soon as there is one. Whether there was one."""
    while launcher.poll() is None:
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        ranks = []
        with contextlib.suppress(OSError):
            ranks = [int(pid) for pid in children.read_text().split()]
        if time.monotonic() >= moment and ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(ranks), signal.SIGKILL)
                return True
        time.sleep(0.01)
    return False


def _end(ended: Game) -> str:
    lines = [line for line in ended.said.splitlines() if line.startswith(("error: ", "stopped by "))]
    return f"exit {ended.code}: {' '.join(lines or ended.said.split())[-300:]}"
