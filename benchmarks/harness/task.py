"""One workload, the same for every trainer: problems, prompts, sizes and optimisation settings.

A step is the game's own: half as many problems as prompts, each asked in both roles, several samples
a prompt, both epochs in minibatches. The driver writes a `Task` as JSON and every worker reads it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from legibility.problems.generator import PRETRAIN_FAMILIES, generate_problems
from legibility.problems.records import Problem
from legibility.prompts import ROLES, load_prompts

Item = tuple[Problem, str]  # a problem and the role it is asked in


@dataclass(frozen=True)
class Task:
    """Steps 0 … warm - 1 are not measured. `problem_steps`: (step count, weight) pairs; None: the generator's own."""

    name: str
    model: str
    prompt_set: str = "nano"
    problem_steps: tuple[tuple[int, float], ...] | None = None
    prompts: int = 64
    samples: int = 4
    max_new_tokens: int = 72
    epochs: int = 2
    minibatch: int = 64
    learning_rate: float = 1e-6  # so small that lengths stay where they are
    kl: float = 0.03
    warm: int = 2
    steps: int = 5
    threads: int = 2
    workers: int = 1  # processes of this package's trainer, which share the threads
    ranks: int = 1  # processes that torchrun starts of any trainer, each with its own `threads`
    shard: bool = False  # whether the ranks of a launcher share the weights
    seed: int = 0

    @property
    def completions(self) -> int:
        return self.prompts * self.samples

    def items(self) -> list[list[Item]]:
        """(problem, role) of every prompt of every step."""
        half, total = self.prompts // 2, self.warm + self.steps
        weights = None if self.problem_steps is None else {int(count): weight for count, weight in self.problem_steps}
        problems = generate_problems(half * total, self.seed, steps=weights, families=PRETRAIN_FAMILIES)
        return [[(p, role) for role in ROLES for p in problems[i * half : (i + 1) * half]] for i in range(total)]

    def prompt_texts(self) -> list[str]:
        """The prompts of all steps, in order."""
        prompts = load_prompts(self.prompt_set)
        return [prompts.render(problem.question, role) for step in self.items() for problem, role in step]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Task:
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
