"""An experiment's unit of work: one trained thing of one seed, kept whole or not at all, and loaded if it is there.

Cells stand in the experiment folder as phases of a run folder do (temporary name, hashes in DONE, rename),
so a killed experiment goes on where it was. A cell keeps log-odds, not weights: whatever comes later (a
student of its labels, accuracy, agreement, intervals) is arithmetic on them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from legibility.files import write_json
from legibility.game.run_folder import RunFolder

STUDY_FILE = "config.yaml"


@dataclass(frozen=True)
class Cell:
    """What is trained. `models` is the chain from the weak model to the one trained here.

    kind: "weak" (on half A's truth, through a teacher and oversight), "student" (the chain's last
    model on the labels of the one before; a chain of more than two is bootstrapping), "ceiling" (on
    half B's truth). `objective` of a ceiling is "xent" or "probe".
    """

    kind: str
    seed: int
    models: tuple[str, ...]
    objective: str = "xent"
    teacher: str = "single"
    oversight: str = "none"

    @property
    def name(self) -> str:
        parts = [f"cells/seed-{self.seed}", self.kind, "-".join(self.models)]
        parts += [self.objective] if self.kind != "weak" else []
        parts += [f"{self.teacher}+{self.oversight}"] if self.kind != "ceiling" else []
        return "/".join(parts)

    @property
    def needs(self) -> Cell | None:
        """The supervisor's cell (none for those that learn from truth)."""
        if self.kind != "student":
            return None
        if len(self.models) == 2:
            return Cell("weak", self.seed, self.models[:1], teacher=self.teacher, oversight=self.oversight)
        return Cell("student", self.seed, self.models[:-1], "xent", self.teacher, self.oversight)


@dataclass(frozen=True)
class Result:
    """A cell's arrays: `steps` (points,) and log-odds (points, items) by part; `info` is what the cell notes."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any]

    def last(self, part: str) -> np.ndarray:
        """Log-odds (items,) of the finished model."""
        return self.arrays[part][-1]


def load_or(run: RunFolder, name: str, compute: Callable[[], Result]) -> Result:
    """The stored result of a cell, computed and stored first if it is not there. Raises UserError for a changed one."""
    if not run.is_done(name):
        started = time.process_time()
        result = compute()
        with run.phase(name) as work:
            np.savez(work / "logits.npz", **result.arrays)
            write_json(work / "cell.json", {**result.info, "cpu_seconds": time.process_time() - started})
    folder = run.verified(name)
    with np.load(folder / "logits.npz") as arrays:
        return Result(
            {k: arrays[k] for k in arrays.files}, json.loads((folder / "cell.json").read_text(encoding="utf-8"))
        )


def with_needs(cells: Iterable[Cell]) -> dict[Cell, list[Cell]]:
    """Cells and all they need in turn, each with the cells it needs."""
    found: dict[Cell, list[Cell]] = {}
    rest = list(cells)
    for cell in rest:
        if cell not in found:
            found[cell] = [cell.needs] if cell.needs else []
            rest += found[cell]
    return found
