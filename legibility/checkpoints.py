"""The checkpoints of one phase under way: when one is written, and what a resume goes on from.

A phase does its steps inside `with checkpoints.step(n)`, whole or not at all: Ctrl-C and SIGTERM wait for the step's end.
Between steps (while a batch is drawn, say) they are heard at once, since nothing that a checkpoint holds changes there.
Either way the last whole step is saved before the signal goes on, and so it is where something fails between steps (a
worker that is killed while it samples). A checkpoint that cannot be written is a warning; the
phase goes on without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import torch

from legibility.checkpoint_files import (
    CheckpointRecord,
    Damaged,
    FileSoFar,
    Origin,
    found_checkpoints,
    go_back,
    phase_files,
    read_checkpoint,
    read_record,
    seconds_so_far,
    start_over,
    write_checkpoint,
)
from legibility.compute_settings import seconds
from legibility.errors import UserError, as_line
from legibility.files import sha256
from legibility.held_signals import held_signals
from legibility.stored import Stored, StoredT

COST = 0.02
"""The most that checkpoints written by the clock may take of a phase's time: rarer ones where they are slow."""

Capture = Callable[[], tuple[Mapping[str, torch.Tensor], Stored]]
"""What a phase is at this moment: the tensors that training changes, and the numbers beside them."""


@dataclass(frozen=True)
class Restored(Generic[StoredT]):
    """A checkpoint that a phase goes on from."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: StoredT


class Checkpoints:
    """Checkpoints of the phase that works in the folder `work`.

    every: steps between them, or a time ("20m"); None: none are written. warn: shows a line to the user.
    """

    def __init__(self, work: Path, origin: Origin, every: int | str | None, warn: Callable[[str], None]) -> None:
        self.work, self.origin, self.every, self.warn = work, origin, every, warn
        self._capture: Capture | None = None
        self._whole: int | None = None  # the last step after which nothing has changed
        self._saved = 0
        self._waiting: list[int] = []  # signals
        self._decided: bool | None = None
        self._known: dict[str, tuple[int, FileSoFar]] = {}
        self._flushed: dict[str, FileSoFar] = {}
        self._earlier = seconds_so_far(work)
        self._began = self._written = time.monotonic()
        self._took = 0.0

    def restore(self, state: type[StoredT]) -> Restored[StoredT] | None:
        """The newest whole checkpoint, the phase's folder put back to it; None: the phase begins (its folder is empty).

        A damaged one, and one of a phase that rests on something else now, are passed over with a warning. Raises
        UserError where it was begun under other settings or with other packages.
        """
        for place in reversed(found_checkpoints(self.work)):
            try:
                record = read_record(place)
                self._refuse_other(record.origin)
                changed = [n for n, was in record.origin.inputs.items() if self.origin.inputs.get(n) != was]
                if changed:
                    self.warn(f"{self.work}: {changed[0]} has changed since its checkpoint, so the phase begins again")
                    break
                tensors, found = read_checkpoint(self.work, place, record, state)
            except Damaged as damage:
                self.warn(f"{damage}; the checkpoint of step {int(place.name[5:])} is not used")
                continue
            go_back(self.work, record)
            self._whole = self._saved = record.step
            return Restored(record.step, tensors, found)
        start_over(self.work)
        self._earlier = 0.0
        return None

    @contextmanager
    def during(self, capture: Capture) -> Iterator[None]:
        """The block in which the phase does its steps; what ends it early saves the last whole one, which `capture` tells."""
        self._capture = capture
        self._began = self._written = time.monotonic()
        try:
            yield
        except BaseException:
            if self.every is not None and self._whole is not None:
                with held_signals():
                    self._save(self._whole)
            raise
        finally:
            self._capture = None

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """A step that is made whole: signals wait for its end, where it is saved if it is time."""
        if self.every is None:
            yield
            return
        self._whole = None
        with held_signals() as self._waiting:
            self._decided = None
            yield
            self._whole = number
            if self._is_time(number):
                self._save(number)

    def will_save(self, step: int) -> bool:
        """Whether the step under way will be saved: at its end, or behind it because a signal waits."""
        return self.every is not None and (self._is_time(step) or bool(self._waiting))

    def _is_time(self, step: int) -> bool:
        """Whether a step is saved at its end. Asked before, it stays so: others may have acted on the answer."""
        if self._decided is None:
            self._decided = self._due(step)
        return self._decided

    def _due(self, step: int) -> bool:
        if isinstance(self.every, int):
            return step % self.every == 0
        assert self.every is not None
        return time.monotonic() - self._written >= max(seconds(self.every), self._took / COST)

    def _save(self, step: int) -> None:
        if step == self._saved or self._capture is None:
            return
        began = time.monotonic()
        record = CheckpointRecord(
            step=step,
            seconds=self._earlier + began - self._began,
            origin=self.origin,
            files=dict(self._files()),
            sha256={},
        )
        try:
            write_checkpoint(self.work, record, *self._capture(), self._flushed)
            self._saved, self._flushed = step, record.files
        except Exception as error:
            reason = as_line(error)
            if reason is None:
                raise
            self.warn(f"the checkpoint of step {step} cannot be written, so there is none: {reason}")
        self._written = time.monotonic()
        self._took = self._written - began

    def _files(self) -> Iterator[tuple[str, FileSoFar]]:
        """The phase's files so far. Those that have not changed since they were hashed are not read again."""
        for name, path in phase_files(self.work):
            found = path.stat()
            moment, known = self._known.get(name, (0, FileSoFar(size=-1, sha256="")))
            if (moment, known.size) != (found.st_mtime_ns, found.st_size):
                known = FileSoFar(size=found.st_size, sha256=sha256(path, found.st_size))
                self._known[name] = found.st_mtime_ns, known
            yield name, known

    def _refuse_other(self, origin: Origin) -> None:
        fix = f"or delete {self.work} to begin the phase again"
        for name in sorted(origin.settings.keys() | self.origin.settings.keys()):
            then, now = origin.settings.get(name), self.origin.settings.get(name)
            if then != now:
                raise UserError(
                    f"{self.work}: begun under other settings ({name}: {then!r} -> {now!r}); use the same, {fix}"
                )
        for name, version in origin.packages.items():
            if version != self.origin.packages.get(name):
                raise UserError(
                    f"{self.work}: begun with {name} {version}, and this is {self.origin.packages.get(name)}; "
                    f"install that version again, {fix}"
                )
