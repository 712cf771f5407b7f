"""What tests of the engines share: a small vocabulary, prompts of it, and ways to look at completions."""

from __future__ import annotations

from types import SimpleNamespace

from legibility.rollouts import Completion

ENGINES = ("fast", "hf")  # vllm draws its own random numbers: tests/rollouts/test_vllm.py
END = 1
SMALL = [[5, 2, 3, 4, 5], [2], [5, 0, 3], [3, 3, 3, 3, 3, 3, 3]]


def ids(completions) -> list[list[list[int]]]:
    return [[c.ids for c in group] for group in completions]


def flat(completions) -> list[Completion]:
    return [c for group in completions for c in group]


class Tokens(SimpleNamespace):
    """As much of a tokenizer as sampling asks for."""

    vocab_size = 6

    def __len__(self) -> int:
        return self.vocab_size
