"""The reward of every trainer: the game's verifier scores the text, the grader gates it (CGC, paper eq. 3).

CGC without centring is a function of one completion, so it can be given to trainers that know no
groups. The verifier is the shipped nano base with a random head: what it says does not matter here,
what it costs does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.task import Item, Task
from legibility import rewards
from legibility.config import VerifierSettings
from legibility.grading import grade
from legibility.models.loading import encode_prompt
from legibility.models.verifier import Verifier
from legibility.prompts import HELPFUL, load_prompts
from legibility.team import Team

TEMPLATE = "<|start|>{problem}<|solution|>{solution}<|end|>"  # as in configs/nano.yaml

# of one step: items, texts, lengths in tokens, verdicts, rewards
Seen = tuple[list[Item], list[str], list[int], list[str], np.ndarray]


class Reward:
    """Called once a step with its items and completions (token ids, end token included); keeps what it saw."""

    def __init__(self, task: Task, tokenizer: Any, end_ids: Iterable[int], team: Team | None = None) -> None:
        self.tokenizer, self.end_ids, self.team = tokenizer, set(end_ids), team
        self.prompts = load_prompts(task.prompt_set)
        self.samples = task.samples
        self.verifier = Verifier.load(VerifierSettings(model="nano", template=TEMPLATE), "cpu", seed=task.seed)
        self.seen: list[Seen] = []

    def __call__(self, items: Sequence[Item], completions: Sequence[Sequence[int]]) -> np.ndarray:
        texts = [self.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in completions]
        verdicts = [
            grade(text, problem.answer, truncated=ids[-1] not in self.end_ids).value
            for text, ids, (problem, _) in zip(texts, completions, items, strict=True)
        ]
        problems, roles = zip(*items, strict=True)
        scores = self.verifier.score(problems, texts, self.team)
        paid = rewards.cgc(scores, verdicts, [role == HELPFUL for role in roles], [p.id for p in problems])
        self.seen.append((list(items), texts, [len(ids) for ids in completions], verdicts, paid))
        return paid

    def merge(self, others: Sequence[list[Seen]]) -> None:
        """Take in what the rewards of other ranks saw (`seen`) of the same steps.

        Raises ValueError where one saw another number of steps.
        """
        merged: list[Seen] = []
        for parts in zip(self.seen, *others, strict=True):
            items, texts, lengths, verdicts = ([x for part in parts for x in part[k]] for k in range(4))
            merged.append((items, texts, lengths, verdicts, np.concatenate([part[4] for part in parts])))
        self.seen = merged

    def statistics(self) -> list[dict[str, float]]:
        """Counts of every step so far; prompts count once per group of samples, equal verifier texts once."""
        return [self._statistics(*step) for step in self.seen]

    def _statistics(self, items, texts, lengths, verdicts, paid) -> dict[str, float]:
        roles = np.array([role for _, role in items])
        right = np.array(verdicts) == "correct"
        prompts = {self.prompts.render(p.question, role) for p, role in items}
        read: dict[str, set[tuple[int, ...]]] = {}
        for (problem, _), ids in zip(items, self.verifier.encode([p for p, _ in items], texts), strict=True):
            read.setdefault(problem.id, set()).add(tuple(ids))
        return {
            "completions": len(items),
            "prompts": len(prompts),
            "generated_tokens": sum(lengths),
            "longest": max(lengths),
            "prompt_tokens": sum(len(encode_prompt(self.tokenizer, text)) for text in prompts),
            "verifier_tokens": sum(_unique_tokens(list(group)) for group in read.values()),
            "reward": float(paid.mean()),
            **{f"accuracy_{role}": float(right[roles == role].mean()) for role in sorted(set(roles))},
        }


def _unique_tokens(texts: list[tuple[int, ...]]) -> int:
    columns = enumerate(zip(*texts, strict=False))
    shared = next((i for i, column in columns if len(set(column)) > 1), min(map(len, texts)))
    return shared + sum(len(text) - shared for text in texts)
