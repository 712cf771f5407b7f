"""Files of a finished run with a bit flipped, cut in half, emptied or deleted; then every command that reads a run.

A command has to refuse or to warn with one line that names the file or its phase, or to do what it does to the run
that nobody damaged: what it writes and prints is compared. `train --resume` also answers for what it would keep.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from soaking.commands import Ended, fixed_secrets, legibility
from soaking.settled import differences, settled
from soaking.world import ATTACK, World, copy

DAMAGES = ("a bit flipped", "cut in half", "emptied", "deleted")
RUN = "finished"
"""The copy has the name of the run it is one of, which stands in its summary."""
ROUNDING = 1e-6
QUESTION = "Tom has 3 pens. Ann has 4."


@dataclass(frozen=True)
class Reader:
    """A command that reads a run. `command`: its arguments, given the run and a folder beside it to write to."""

    name: str
    command: Callable[[World, Path, Path], list[object]]
    before: Callable[[], None] | None = None


READERS = [
    Reader("report", lambda w, run, out: ["report", run]),
    Reader("evaluate --quick", lambda w, run, out: ["evaluate", run, "--quick"]),
    Reader("ask", lambda w, run, out: ["ask", run, QUESTION, "--samples", 1]),
    Reader("compare", lambda w, run, out: ["compare", run, w.second, "--out", out]),
    Reader("attack", lambda w, run, out: ["attack", run, "--verifier", 1, "--reward", "src", *ATTACK]),
    Reader(
        "export", lambda w, run, out: ["export", run, "--out", out, "--per-condition", 4, "--raters", 3], fixed_secrets
    ),
    Reader("train --resume", lambda w, run, out: [*w.train(run), "--no-report"]),
]

GROUPS = (
    ("settings, manifest", r"(config\.yaml|manifest\.json|resources\.json)$"),
    ("problems", r"problems\.jsonl$"),
    ("report, figures", r"(report\.html|figures/.*)$"),
    ("summary", r"summary\.json$"),
    ("sections of the evaluation", r"evaluation/[^/]*\.json$"),
    ("stored scores", r"evaluation/scores/"),
    ("records of phases (DONE)", r".*/DONE$"),
    ("completions", r".*/solutions\.(parquet|sha256)$"),
    ("weights", r".*\.safetensors$"),
    ("step metrics, training records", r".*/(metrics\.jsonl|metrics\.json|training\.json)$"),
    ("model and tokenizer files", r".*/(config|generation_config|tokenizer|tokenizer_config)\.json$"),
    ("other files", r".*"),
)
"""What kinds of files are counted together, the first that fits."""


@dataclass
class Damaged:
    """What became of a group's trials. faults: what fell, with how often and one example."""

    name: str
    kinds: set[str] = field(default_factory=set)
    trials: int = 0
    refused: int = 0
    warned: int = 0
    right: int = 0
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Reference:
    """What a command does to the undamaged run. products: the files it wrote."""

    ended: Ended
    files: dict[str, bytes]
    products: frozenset[str]


def run(
    world: World, folder: Path, *, seed: int, until: float, readers: list[Reader] | None = None, most: int | None = None
) -> list[Damaged]:
    """Try kinds of files, damages and commands in random order until the moment `until` (monotonic) or `most` trials.

    Every kind is damaged in every way by some command before any is by a second.
    """
    readers = READERS if readers is None else readers
    rng = random.Random(seed)
    references = {reader.name: _reference(world, folder, reader) for reader in readers}
    found = {name: Damaged(name) for name, _ in GROUPS}
    for file, damage, reader in _plan(world, readers, rng)[:most]:
        if time.monotonic() > until:
            break
        row = found[_group(file)]
        row.kinds.add(_kind(file))
        row.trials += 1
        fault = _try(world, folder, file, damage, reader, references[reader.name], rng, row)
        if fault is not None:
            told = f"{_kind(file)} {damage}, {reader.name}: {fault}"
            row.faults[told] = row.faults.get(told, 0) + 1
    return [row for row in found.values() if row.trials]


def _plan(world: World, readers: list[Reader], rng: random.Random) -> list[tuple[str, str, Reader]]:
    kinds: dict[str, list[str]] = {}
    for path in sorted(world.finished.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(world.finished))
            kinds.setdefault(_kind(name), []).append(name)
    passes: list[list[tuple[str, str, Reader]]] = [[] for _ in readers]
    for files in kinds.values():
        for damage in DAMAGES:
            for turn, reader in zip(passes, rng.sample(readers, len(readers)), strict=True):
                turn.append((rng.choice(files), damage, reader))
    for turn in passes:
        rng.shuffle(turn)
    return [trial for turn in passes for trial in turn]


def _kind(file: str) -> str:
    """A file's path without what tells rounds, steps, attacks and figures apart."""
    if file.startswith("figures/"):
        return "figures/*.png"
    return re.sub(r"_(src|cgc|goodhart)_", "_*_", re.sub(r"\d+", "N", file))


def _group(file: str) -> str:
    return next(name for name, pattern in GROUPS if re.match(pattern, file))


def _reference(world: World, folder: Path, reader: Reader) -> _Reference:
    ended, place = _go(world, folder, reader, lambda run: None)
    if ended.code != 0:
        raise RuntimeError(f"{reader.name} on the undamaged run: {ended.err}")
    source = {str(p.relative_to(world.finished)): p for p in world.finished.rglob("*") if p.is_file()}
    products = {
        str(p.relative_to(place))
        for p in place.rglob("*")
        if p.is_file() and not _untouched(p, source.get(str(p.relative_to(place / RUN))) if p.is_relative_to(place / RUN) else None)
    }  # fmt: skip
    if reader.name == "train --resume":  # it answers for all that it made
        made = (n for n in source if not n.startswith(("evaluation/", "figures/", "report.html")))
        products |= {f"{RUN}/{name}" for name in made}
    return _Reference(ended, settled(place), frozenset(products))


def _untouched(path: Path, source: Path | None) -> bool:
    return source is not None and path.stat().st_mtime_ns == source.stat().st_mtime_ns


def _go(world: World, folder: Path, reader: Reader, damage: Callable[[Path], None]) -> tuple[Ended, Path]:
    """Run a command on a damaged copy of the finished run; how it ended and the folder that holds all."""
    place = folder / "place"
    run = copy(world.finished, place / RUN)
    damage(run)
    shutil.rmtree(place / "out", ignore_errors=True)
    ended = legibility(*reader.command(world, run, place / "out"), before=reader.before, folder=world.folder)
    return ended, place


def _try(
    world: World,
    folder: Path,
    file: str,
    damage: str,
    reader: Reader,
    reference: _Reference,
    rng: random.Random,
    row: Damaged,
) -> str | None:
    ended, place = _go(world, folder, reader, lambda run: harm(run / file, damage, rng))
    if ended.hung:
        return "hangs"
    if ended.code != 0:
        if not ended.refused:
            return f"exit {ended.code}: {' '.join(ended.err.split())[-160:]}"
        if not any(str(name) in ended.err for name in (Path(RUN) / file, (Path(RUN) / file).parent)):
            return f"a line that does not name it: {' '.join(ended.err.split())[-160:]}"
        row.refused += 1
        return None
    found = settled(place)
    # scores that were deleted are computed again, in other company: they differ in the last bits
    wrong = [
        n
        for n in differences(found, reference.files, rounding=ROUNDING)
        if n != f"{RUN}/{file}" or n in reference.products
    ]
    if f"{RUN}/{file}" in " ".join(f"{ended.err} {ended.out}".split()):  # goes on without it, and says so
        row.warned += 1
        return None
    if wrong:
        return f"another result, without a word ({', '.join(wrong[:3])})"
    made_again = found.get(f"{RUN}/{file}") == reference.files.get(f"{RUN}/{file}")  # and says that it makes it
    if not made_again and _lines(ended.out) != _lines(reference.ended.out):
        return "prints something else"
    row.right += 1
    return None


def _lines(text: str) -> str:
    """What a command printed, without times."""
    return re.sub(r"\s+\d+ s$", "", text, flags=re.MULTILINE)


def harm(path: Path, damage: str, rng: random.Random) -> None:
    """Damage a file in one of the `DAMAGES`."""
    data = bytearray(path.read_bytes())
    if damage == "deleted":
        path.unlink()
        return
    if damage == "a bit flipped" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(
        bytes(data[: len(data) // 2]) if damage == "cut in half" else b"" if damage == "emptied" else bytes(data)
    )


def table(rows: list[Damaged]) -> str:
    """The rows as markdown, with their sum and every fault."""
    lines = [
        "| files | kinds | trials | refused with one line that names it | went on with a line that names it | right all the same | fell |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {len(r.kinds)} | {r.trials} | {r.refused} | {r.warned} | {r.right} | {sum(r.faults.values())} |"
        for r in rows
    ]
    sums = [
        sum(column)
        for column in zip(
            *((len(r.kinds), r.trials, r.refused, r.warned, r.right, sum(r.faults.values())) for r in rows), strict=True
        )
    ]
    lines.append("| **all** | " + " | ".join(f"**{n}**" for n in sums) + " |")
    faults = [f"- {told}" + (f" ({n} ×)" if n > 1 else "") for r in rows for told, n in r.faults.items()]
    return "\n".join(["", *lines, *(["", *faults] if faults else []), ""])
