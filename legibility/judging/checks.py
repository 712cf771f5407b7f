"""Attention checks: one-step problems whose answer nobody who reads can miss, mixed into the study.

They look like study items (same answer line, several written lines) and are told apart by the key
only. A wrong one is wrong by a lot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from legibility.problems.stories import NAMES

THINGS = ("apples", "books", "pens", "cups", "coins", "stamps")


class AttentionCheck(NamedTuple):
    """A problem with a solution that is plainly right or plainly wrong."""

    problem: str
    solution: str
    correct: bool


def attention_checks(count: int, marker: str, rng: np.random.Generator) -> list[AttentionCheck]:
    """`count` different checks, half of them correct. marker: what stands before a final answer."""
    names, found = rng.choice(NAMES, size=count, replace=False).tolist(), []
    for i, name in enumerate(names):
        thing, correct = str(rng.choice(THINGS)), i % 2 == 0
        have, more = (int(x) for x in rng.choice(np.arange(2, 10), 2, replace=False))
        answer = have + more if correct else (have + more) * 10 + int(rng.integers(1, 9))
        problem = f"{name} has {have} {thing}. {name} buys {more} more {thing}. How many {thing} does {name} have now?"
        found.append(AttentionCheck(problem, f"{have} + {more} = {answer}\n{marker} {answer}", correct))
    return found
