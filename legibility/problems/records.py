"""The `Problem` record every part of the package shares.

A problem is pure text plus its gold answer; generated problems also carry the exact steps that
solve them, which is what makes step validity exact in the built-in world.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One true arithmetic step `left op right = result`, with op one of + - * /."""

    left: int
    op: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right} = {self.result}"


@dataclass(frozen=True)
class Problem:
    """A word problem with a unique numeric answer.

    `id` is unique and stable within a source; `answer` is the gold answer as written there (for
    example "1,200"); `solution` a worked reference solution ending in the marker line, or "";
    `steps` the exact steps (generated problems only); `family` the story or topic, used to
    hold whole stories out of pre-training.
    """

    id: str
    question: str
    answer: str
    solution: str = ""
    source: str = ""
    family: str = ""
    steps: tuple[Step, ...] = field(default=(), repr=False)
