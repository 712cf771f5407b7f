"""What the game and TRL's trainer hand each other: tasks, answers, models, and a desk at which they take turns."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Any

import torch

from legibility.config import GradingSettings, PPOSettings
from legibility.grading import Verdict
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem


@dataclass(frozen=True)
class Task:
    """What one group of completions answers."""

    problem: Problem
    role: str


@dataclass(frozen=True)
class Answer:
    """A sampled completion, graded, and scored where there is a verifier. Lengths in tokens."""

    text: str
    verdict: Verdict
    prompt_tokens: int
    completion_tokens: int
    truncated: bool
    score: float | None


@dataclass(frozen=True)
class PhaseWork:
    """What every rank has to know of a phase.

    steps[i] are the tasks of step `first` + i, each answered `ppo.samples_per_role` times; key: what the phase's
    random numbers are keyed by.
    """

    trainer: str
    ppo: PPOSettings
    grading: GradingSettings
    max_new_tokens: int
    device: str
    key: tuple[int | str, ...]
    first: int
    steps: list[list[Task]]

    @property
    def completions(self) -> int:
        """Completions of one step."""
        return len(self.steps[0]) * self.ppo.samples_per_role


@dataclass
class Players:
    """The models of a phase, and the optimizer; every rank has its own copies."""

    prover: Prover
    verifier: Verifier | None
    reference: Any
    """The starting policy's model, until TRL has read it; None with LoRA, where the adapter is turned off."""
    optimizer: torch.optim.Optimizer


class Abandoned(Exception):
    """The game has ended the phase while the trainer was at work."""


@dataclass(frozen=True)
class Ended:
    """The trainer's last word: it is done, or failed."""

    error: BaseException | None


class Desk:
    """Where the game's loop and the trainer's thread take turns: the trainer asks, the game answers."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask(self, question: Any) -> Any:
        """The trainer's turn ends; returns the game's answer. Raises Abandoned where the game has left."""
        self._asked.put(question)
        answer = self._answered.get()
        if isinstance(answer, Abandoned):
            raise answer
        return answer

    def end(self, error: BaseException | None) -> None:
        """The trainer's last word."""
        self._asked.put(Ended(error))

    def answer(self, answer: Any) -> None:
        """The game's turn ends."""
        self._answered.put(answer)

    def hear(self) -> Any:
        """What the trainer asks next. Raises its error where it failed, RuntimeError where it ended too early."""
        question = self._asked.get()
        if isinstance(question, Ended):
            raise question.error or RuntimeError("the trainer ended before the game did")
        return question

    def farewell(self) -> None:
        """Wait for the trainer's end. Raises its error where it failed."""
        question = self._asked.get()
        assert isinstance(question, Ended), "the trainer goes on after its end"
        if question.error is not None:
            raise question.error
