"""What a text's equations lead to, and what that rests on. Nothing but the text is read.

The last equation's result is traced back: an operand that is the result of an earlier equation rests on that one,
any other is a number the text starts from. The result follows where every equation it rests on holds. In texts that
are lines of equations a number is introduced by being used, so no operand is refused as unheard of; an equation that
the result does not rest on is what gives a jump away: "7 * 2 = 14, 30 + 35 = 65" uses one of its two steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from legibility.grading.answer import parse_number
from legibility.grading.arithmetic import StepCheck, check_steps
from legibility.grading.expressions import tokenize


@dataclass(frozen=True)
class Derivation:
    """`result`: of the last equation, as written; None where there is none, or an equation it rests on does not hold.
    `steps`: equations that can be read; `used`: how many the last one rests on, itself among them."""

    result: Fraction | None
    steps: int
    used: int


def derivation(text: str) -> Derivation:
    """Trace the last equation of a text back to the numbers it starts from.

    An operand is taken for the latest earlier result of the same value. Of a chain `a = b = c` the second equation rests
    on the first. What `check_steps` cannot read is no equation.
    """
    steps = check_steps(text)
    if not steps:
        return Derivation(None, 0, 0)
    latest: dict[Fraction, int] = {}  # the last equation so far with a result
    grounds: list[set[int]] = []
    for k, step in enumerate(steps):
        found = {latest[value] for value in numbers(step.left) if value in latest}
        grounds.append(found | ({k - 1} if k and steps[k - 1].end > step.start else set()))
        result = _result(step)
        if result is not None:
            latest[result] = k
    used, waiting = {len(steps) - 1}, [len(steps) - 1]
    while waiting:
        more = grounds[waiting.pop()] - used
        used |= more
        waiting += more
    holds = all(steps[k].valid for k in used)
    return Derivation(_result(steps[-1]) if holds else None, len(steps), len(used))


def numbers(text: str) -> list[Fraction]:
    """The numbers written in a text, in order, without their signs; what cannot be read is left out."""
    values = (parse_number(token.text) for token in tokenize(text, 0, len(text)) if token.kind == "num")
    return [value for value in values if value is not None]


def _result(step: StepCheck) -> Fraction | None:
    """The right side as written; where that is an expression, its value, which is known of an equation that holds."""
    written = parse_number(step.right)
    return step.expected if written is None and step.valid else written
