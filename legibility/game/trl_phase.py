"""Between the game and TRL's trainer: what a prover phase asks of it, and its answers as rows of the completion store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from legibility.game.context import Game
from legibility.game.solutions import Solution
from legibility.integrations.trl_work import Answer, PhaseWork, Task


def phase_work(
    game: Game, trainer: str, key: tuple[int | str, ...], *, first: int, steps: list[list[Task]]
) -> PhaseWork:
    """The work of a phase whose random numbers are keyed by the seed and `key`; its first step has the number `first`."""
    settings = game.config
    return PhaseWork(
        trainer=trainer,
        ppo=settings.ppo,
        grading=settings.grading,
        max_new_tokens=settings.sampling.max_new_tokens,
        device=game.device,
        key=(settings.seed, *key),
        first=first,
        steps=steps,
    )


def solutions(answered: Iterable[tuple[Task, Sequence[Answer]]], arm: str, index: int, step: int) -> list[Solution]:
    """A step's completions in the order of their tasks, graded and scored already."""
    return [
        Solution(
            arm=arm,
            round=index,
            phase="ppo",
            split="prover",
            step=step,
            problem_id=task.problem.id,
            sample=sample,
            role=task.role,
            text=answer.text,
            verdict=answer.verdict.value,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            truncated=answer.truncated,
            score=answer.score,
        )
        for task, answers in answered
        for sample, answer in enumerate(answers)
    ]
