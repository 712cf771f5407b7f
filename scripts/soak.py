"""What happens to a game when things go wrong: kills, fuzzed input, damaged files, full disks, many raters, ranks.

    python scripts/soak.py                        # every part, 20 minutes together, prints its tables
    python scripts/soak.py --part kills --budget 5
    python scripts/soak.py --write                # and puts the tables into docs/reliability.md

Every part stops by itself: at its numbers, or when its share of the budget is spent, and then says how far it
came. All of it happens in a temporary folder, on a game of seconds; nothing else is written unless `--write` is
given. Linux only; the part `guided` needs the extra `fuzz`. Exit code 1 where anything fell.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from legibility.script import run_script

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [folder for folder in (str(ROOT / "scripts"), str(ROOT)) if folder not in sys.path]

from soaking import damage, disk, fuzz, guided, judge, kills, ranks  # noqa: E402
from soaking.commands import warm_up  # noqa: E402
from soaking.world import World, make_world  # noqa: E402

PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Found:
    """What a part found: its table as markdown, and how many things fell."""

    table: str
    fell: int


class Part(str, Enum):
    """What may be soaked."""

    kills = "kills"
    fuzz = "fuzz"
    guided = "guided"
    files = "files"
    disk = "disk"
    judge = "judge"
    ranks = "ranks"


@dataclass(frozen=True)
class Plan:
    """How a part is run, and its share of the budget. `soak`: of a world, a folder, a seed and the end (monotonic)."""

    soak: Callable[[World, Path, int, float], Found]
    share: float


def kill_commands(world: World, folder: Path, seed: int, until: float) -> Found:
    """At least 100 kills over all commands that write, where time allows."""
    rows = kills.run(world, folder, kills=KILLS, seed=seed, until=until)
    return Found(kills.table(rows), sum(r.lost + r.redone + r.orphans for r in rows))


def fuzz_readers(world: World, folder: Path, seed: int, until: float) -> Found:
    """At least 10,000 inputs over all readers of what users write, where time allows."""
    rows = fuzz.run(fuzz.targets(world), inputs=INPUTS, seed=seed, until=until)
    return Found(fuzz.table(rows), sum(r.fell for r in rows))


def guide_fuzz(world: World, folder: Path, seed: int, until: float) -> Found:
    """Coverage-guided inputs to grader, step checker and readers for the whole of their time."""
    rows = guided.run(folder, seed=seed, until=until)
    return Found(guided.table(rows), sum(r.fell for r, _ in rows))


def damage_files(world: World, folder: Path, seed: int, until: float) -> Found:
    """Every kind of file in a run, every damage, as many commands as time allows."""
    rows = damage.run(world, folder, seed=seed, until=until)
    return Found(damage.table(rows), sum(sum(r.faults.values()) for r in rows))


def starve_disk(world: World, folder: Path, seed: int, until: float) -> Found:
    """Full disks and read-only folders over the whole of every command."""
    rows = disk.run(world, folder, until=until)
    return Found(disk.table(rows), sum(sum(r.faults.values()) for r in rows))


def crowd_the_judge(world: World, folder: Path, seed: int, until: float) -> Found:
    """Fifty raters at once, then a server killed under its raters."""
    rows = judge.run(folder, seed=seed, until=until)
    return Found(judge.table(rows), judge.fell(rows))


def kill_ranks(world: World, folder: Path, seed: int, until: float) -> Found:
    """At least 40 kills of ranks of torchrun, where time allows."""
    rows = ranks.run(world, folder, kills=RANK_KILLS, seed=seed, until=until)
    return Found(kills.table(rows), sum(r.lost + r.redone + r.orphans for r in rows))


KILLS, INPUTS, RANK_KILLS = 130, 11_000, 42
PLANS = {
    Part.kills: Plan(kill_commands, 0.4),
    Part.fuzz: Plan(fuzz_readers, 0.1),
    Part.guided: Plan(guide_fuzz, 0.1),
    Part.files: Plan(damage_files, 0.15),
    Part.disk: Plan(starve_disk, 0.2),
    Part.judge: Plan(crowd_the_judge, 0.05),
    Part.ranks: Plan(kill_ranks, 0.3),
}


def main(
    part: Annotated[
        list[Part] | None, typer.Option(help="A part to run alone; may be given again (default: all).")
    ] = None,
    budget: Annotated[float, typer.Option(help="Minutes for everything together.", min=0.1)] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the moments and the damage.", min=0)] = 0,
    write: Annotated[bool, typer.Option("--write", help="Put the tables into docs/reliability.md.")] = False,
) -> None:
    """Run the parts one after another and print their tables."""
    chosen = list(dict.fromkeys(part or list(Part)))
    if Part.guided in chosen and importlib.util.find_spec("atheris") is None:
        raise typer.BadParameter("the part guided needs atheris: pip install -e '.[fuzz]'", param_hint="--part")
    end, fell = time.monotonic() + 60 * budget, 0
    warm_up()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        world = make_world(Path(name) / "world")
        for k, one in enumerate(chosen):
            left = sum(PLANS[other].share for other in chosen[k:])
            now = time.monotonic()
            found = PLANS[one].soak(world, Path(name) / one.value, seed, now + (end - now) * PLANS[one].share / left)
            fell += found.fell
            typer.echo(f"\n{one.value} ({time.monotonic() - now:.0f} s, {found.fell} fell)\n\n{found.table}")
            if write:
                PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), one.value, found.table), encoding="utf-8")
    if fell:
        raise typer.Exit(1)


def put(page: str, part: str, table: str) -> str:
    """The page with a part's table between its two marks. Raises ValueError where the page has none."""
    begin, end = f"<!-- soak: {part} -->", f"<!-- end: {part} -->"
    made, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n{end}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{PAGE.name}: no place for the part {part}")
    return made


if __name__ == "__main__":
    run_script(main)
