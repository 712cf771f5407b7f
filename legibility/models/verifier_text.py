"""The text a verifier reads, as tokens: which of them are the solution, and what is left out of a long one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class EncodedText(tuple[int, ...]):
    """Token ids of one text; `solution` are the places of the solution's tokens (empty where not asked for)."""

    solution: range

    def __new__(cls, ids: Iterable[int], solution: range = range(0)) -> EncodedText:
        """A text of these ids whose solution stands at these places."""
        text = super().__new__(cls, ids)
        text.solution = solution
        return text

    @property
    def predicted(self) -> range:
        """Places of the solution's tokens that have a log-prob: all but a text's very first token."""
        return range(max(self.solution.start, 1), self.solution.stop)


def filled(template: str, problem: str, solution: str) -> str:
    """A template with problem and solution in place, in one pass: a problem may hold "{solution}" itself."""
    return "".join(pieces_of(template, problem, solution)[0])


def pieces_of(template: str, problem: str, solution: str) -> tuple[list[str], list[bool]]:
    """The filled template as pieces in order, and of each whether it is a problem's or a solution's text."""
    pieces = re.split(r"\{(problem|solution)\}", template)  # every other one is a field's name
    fields = {"problem": problem, "solution": solution}
    return [fields[p] if k % 2 else p for k, p in enumerate(pieces)], [k % 2 == 1 for k in range(len(pieces))]


def shortened(text: EncodedText, limit: int) -> EncodedText:
    """A text of at most `limit` tokens: its middle is left out."""
    if len(text) <= limit:
        return text
    head, gone = limit // 4, len(text) - limit

    def moved(place: int) -> int:
        return place if place <= head else max(place - gone, head)

    solution = range(moved(text.solution.start), moved(text.solution.stop))
    return EncodedText(without_middle(text, limit), solution)


def without_middle(items: Sequence[T], limit: int) -> Sequence[T]:
    """At most `limit` items: the start of the problem and the solution's end, which carries the answer."""
    if len(items) <= limit:
        return items
    head = limit // 4
    return [*items[:head], *items[len(items) - (limit - head) :]]


def covered(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> range:
    """Places of the tokens that a span of characters touches, and of the one token after them, if there is one.

    That token ends the solution: without its log-prob a solution cut short would be as likely as a whole one.
    """
    touched = [k for k, (start, end) in enumerate(offsets) if start < end and end > span[0] and start < span[1]]
    first = touched[0] if touched else sum(end <= span[0] for _, end in offsets)
    last = touched[-1] + 1 if touched else first
    return range(first, min(last + 1, len(offsets)))
