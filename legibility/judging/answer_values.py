"""What an answer may hold besides True or False: the one check that the judging server and the import share.

What the server has acknowledged must be taken by the import, so the server asks here before it stores. The server
refuses an answer with a value that cannot be used; the import, whose files nobody can correct any more, takes the
judgment without it and says so.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from legibility.printable import printable

CONFIDENCES = 5  # 1: guessing, 5: certain
LONGEST_SECONDS = 1e7
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,(\d{1,2}|\d{4,})")  # with three digits it may be a thousands separator


@dataclass(frozen=True)
class AnswerValues:
    """The optional values of an answer; `unusable` has a sentence for each that was given and is None here."""

    seconds: float | None
    confidence: int | None
    first_wrong_step: int | None
    unusable: list[str]


def answer_values(
    solution: str, *, seconds: Any = None, confidence: Any = None, first_wrong_step: Any = None
) -> AnswerValues:
    """Read the optional values of an answer about `solution`. Text that writes a number is one (`4.0`, `12,5`).

    seconds: from 0 to 10⁷; confidence: 1 to 5; first_wrong_step: a line of the solution, from 1. None and blank text
    are values left out.
    """
    unusable: list[str] = []

    def read(name: str, value: Any, low: float, high: float, *, whole: bool, what: str) -> float | None:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        number = _number(value)
        if number is None or not low <= number <= high or (whole and number != int(number)):
            unusable.append(f"{name} {_shown(value)} is not {what}")
            return None
        return number

    lines = solution.count("\n") + 1
    time = read("seconds", seconds, 0, LONGEST_SECONDS, whole=False, what="a number from 0 to 1e+07")
    sure = read("confidence", confidence, 1, CONFIDENCES, whole=True, what=f"a whole number from 1 to {CONFIDENCES}")
    step = read("first_wrong_step", first_wrong_step, 1, lines, whole=True, what=f"one of the solution's {lines} lines")
    return AnswerValues(time, None if sure is None else int(sure), None if step is None else int(step), unusable)


def _number(value: Any) -> float | None:
    """The finite number that a value is or writes, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()):
        value = value.replace(",", ".")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    """A value in a sentence. What is no plain value is named by its type: it may be nested without end."""
    if value is None or isinstance(value, (str, int, float)):
        return repr(printable(value)[:40])
    return f"({type(value).__name__})"
