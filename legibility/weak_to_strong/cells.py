"""An experiment's unit of work: one trained thing of one seed, kept whole or not at all, and loaded if it is there.

Cells stand in the experiment's folder as phases of a run folder do (temporary name, hashes in DONE,
rename), so a killed experiment goes on where it was. A cell keeps log-odds, not weights: whatever comes
later (a student of its labels, accuracy, agreement, intervals) is arithmetic on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
from pydantic import Field

from legibility.game.run_folder import RunFolder
from legibility.stored import Stored, read_stored, write_stored
from legibility.weak_to_strong.experiment_settings import ALONE, SINGLE


@dataclass(frozen=True)
class Cell:
    """What is trained. `models` is the chain from the weak model to the one trained here.

    kind: "weak" (on half A's truth, through a teacher and oversight), "student" (the chain's last
    model on the labels of the one before; a chain of more than two is bootstrapping), "ceiling" (on
    half B's truth). `objective` of a ceiling is "xent" or "probe".
    """

    kind: Literal["weak", "student", "ceiling"]
    seed: int
    models: tuple[str, ...]
    objective: str = "xent"
    teacher: str = SINGLE
    oversight: str = ALONE

    @property
    def name(self) -> str:
        """Its folder inside the experiment's."""
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

    @property
    def is_ensemble(self) -> bool:
        """A weak teacher of several members."""
        return self.kind == "weak" and self.teacher != SINGLE


class CellInfo(Stored):
    """cell.json: what a cell notes beside its arrays."""

    cpu_seconds: float = Field(0.0, description="CPU seconds it took.")


class EnsembleInfo(CellInfo):
    """cell.json: what an ensemble of weak models notes."""

    size: int = Field(description="Members used, chosen on validation.")
    validation_accuracy_by_size: list[float] = Field(description="Validation accuracy of the first 1, 2, … members.")
    learner_weights: list[float] = Field(description="AdaBoost's weights of the members (else empty).")
    stopped: str | None = Field(description="Why boosting stopped early (null: it did not).")


InfoT = TypeVar("InfoT", bound=CellInfo)


@dataclass(frozen=True)
class CellResult(Generic[InfoT]):
    """A cell's arrays: `steps` (points,) and log-odds (points, items) by part; `info` is what the cell notes."""

    arrays: dict[str, np.ndarray]
    info: InfoT

    def last(self, part: str) -> np.ndarray:
        """Log-odds (items,) of the finished model."""
        last: np.ndarray = self.arrays[part][-1]
        return last


def load_or(
    run: RunFolder, name: str, info: type[InfoT], compute: Callable[[], CellResult[InfoT]]
) -> CellResult[InfoT]:
    """The stored result of a cell, computed and stored first if it is not there.

    info: the kind of record its cell.json is. Raises UserError for a cell whose files were changed.
    """
    if not run.is_done(name):
        started = time.process_time()
        result = compute()
        with run.phase(name) as work:
            np.savez(work / "logits.npz", **result.arrays)  # type: ignore[arg-type]
            seconds = {"cpu_seconds": time.process_time() - started}
            write_stored(work / "cell.json", result.info.model_copy(update=seconds))
    folder = run.verified(name)
    noted = read_stored(folder / "cell.json", info, fix=f"delete {folder} and resume to train it again")
    with np.load(folder / "logits.npz") as arrays:
        return CellResult({k: arrays[k] for k in arrays.files}, noted)


def with_needs(cells: Iterable[Cell]) -> dict[Cell, list[Cell]]:
    """Cells and all they need in turn, each with the cells it needs."""
    found: dict[Cell, list[Cell]] = {}
    rest = list(cells)
    for cell in rest:
        if cell not in found:
            found[cell] = [cell.needs] if cell.needs else []
            rest += found[cell]
    return found
