"""How far the training of a verifier has come, and what a checkpoint holds of it.

Batches are drawn again from the seed, and the learning rate follows from the step, so beside weights and moments only
the last metrics are kept, and of the random numbers the generators that dropout draws from, of every process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from legibility.checkpoint_files import put_back, trained_tensors
from legibility.checkpoints import Checkpoints
from legibility.errors import UserError
from legibility.models.verifier import Verifier
from legibility.sharding import is_sharded, whole_tensors
from legibility.stored import Number, Stored
from legibility.team import Team
from legibility.verifier_gradients import dropout_states

_RANDOM = "random."


class VerifierSoFar(Stored):
    """state.json of a phase that trains a verifier: what it knows beside the tensors."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    member: int = Field(description="The member of an ensemble that is being trained; 0 of a single verifier.")
    step: int = Field(description="Steps it has made.")
    history: list[dict[str, Number]] = Field(description="Its metrics at the last steps, as many as are averaged.")
    final: list[dict[str, Number]] = Field(description="Metrics at the end of each member before it.")


@dataclass(frozen=True)
class Moment:
    """Member and step that a training has come to, with what it will average. Fields as in `VerifierSoFar`."""

    member: int = 0
    step: int = 0
    history: tuple[dict[str, float], ...] = ()
    final: tuple[dict[str, float], ...] = ()

    @classmethod
    def of(cls, seen: VerifierSoFar) -> Moment:
        """The moment at which a checkpoint was written."""
        return cls(seen.member, seen.step, _defined(seen.history), _defined(seen.final))


def _defined(rows: Sequence[Mapping[str, float | None]]) -> tuple[dict[str, float], ...]:
    return tuple({name: float("nan") if x is None else x for name, x in row.items()} for row in rows)


@dataclass
class VerifierCourse:
    """The training of a verifier in one process of a team.

    Only the caller's process has `checkpoints`; `resumable` says in every one whether there are any.
    """

    verifier: Verifier
    team: Team
    checkpoints: Checkpoints | None
    resumable: bool

    def __post_init__(self) -> None:
        # replaced in one go, so that an interruption between members finds what belongs together
        self._last: tuple[Moment, torch.optim.Optimizer, list[list[np.ndarray]]] | None = None
        self._number = 0
        self._whole: dict[str, torch.Tensor] | None = None  # at that moment, of a verifier whose weights are spread

    def whole_step(self, number: int) -> AbstractContextManager[None]:
        """A step that is made whole, where there are checkpoints."""
        self._number = number
        return nullcontext() if self.checkpoints is None else self.checkpoints.step(number)

    def end_step(self, now: Moment, optimizer: torch.optim.Optimizer) -> None:
        """Take note of a step's end."""
        if self.resumable:
            random = self.team.gather([state.numpy() for state in dropout_states(self.verifier.device)])
            self._whole = self._gathered(optimizer) if self._is_spread else None
            self._last = now, optimizer, random

    def so_far(self) -> tuple[dict[str, torch.Tensor], VerifierSoFar]:
        """What a checkpoint holds."""
        assert self._last is not None, "nothing is saved before the first step"
        now, optimizer, random = self._last
        facts = VerifierSoFar(member=now.member, step=now.step, history=list(now.history), final=list(now.final))
        states = {
            _random_name(rank, k): torch.from_numpy(state)
            for rank, own in enumerate(random)
            for k, state in enumerate(own)
        }
        if self._is_spread and self._whole is None:
            raise UserError("its weights are spread over the ranks, which are at work already")
        return {**(self._whole or self._tensors(optimizer)), **states}, facts

    def go_on_from(self, tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Put weights, optimizer and this process's generators back; those of a process that there was not stay."""
        trained = {name: tensor for name, tensor in tensors.items() if not name.startswith(_RANDOM)}
        put_back(trained, self._tensors(optimizer))
        for k in range(len(dropout_states(self.verifier.device))):
            state = tensors.get(_random_name(self.team.rank, k))
            if state is None:
                continue
            if k == 0:
                torch.set_rng_state(state)
            else:
                torch.cuda.set_rng_state(state, self.verifier.device)

    @property
    def _is_spread(self) -> bool:
        return any(is_sharded(member.model) for member in self.verifier.members)

    def _gathered(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor] | None:
        """Whole copies where a checkpoint will want them, in the process that writes it; all processes have to call it."""
        settled = self.checkpoints is not None and self.checkpoints.will_save(self._number)
        if not any(self.team.gather(settled)):
            return None
        whole: dict[str, torch.Tensor] | None = None if self.checkpoints is None else {}
        whole_tensors(self._tensors(optimizer), whole)
        return whole

    def _tensors(self, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        members = {f"member_{k}": _modules(member) for k, member in enumerate(self.verifier.members)}
        return trained_tensors(nn.ModuleDict(members), optimizer)


def _random_name(rank: int, k: int) -> str:
    return f"{_RANDOM}{rank}.{k}"


def _modules(verifier: Verifier) -> nn.ModuleDict:
    head = {} if verifier.head is None else {"head": verifier.head}
    return nn.ModuleDict({"model": verifier.model, **head})
