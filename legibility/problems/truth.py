"""Exact truth of the steps a model wrote, for problems whose true steps are known.

The paper needed a large model to say where a solution goes wrong; the built-in problems know their
steps, so here it is a look-up. `grade_steps` takes every equation `check_steps` finds and asks two
things: does its arithmetic hold, and is it a step of this problem? A compound expression counts when
each of its operations is a true step; `a + b` may be written `b + a`, and doubling as adding twice.
Other orders of the story's events are not searched for. Problems without known steps (GSM8K) are
graded by arithmetic alone. Texts that write results without equations have no steps to grade.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from legibility.grading import StepCheck, check_steps, parse_number
from legibility.problems.generator import operand_sources
from legibility.problems.records import Problem, Step

Status = Literal["valid", "slip", "carried", "foreign"]
REASONS: dict[str, str] = {
    "valid": "",
    "slip": "arithmetic does not hold",
    "carried": "carries an earlier mistake",
    "foreign": "not a step of this problem",
}
ANY = -1  # a wrong result that may stand for the result of any step


@dataclass(frozen=True)
class GradedStep:
    """One written equation.

    `status` is "valid" (holds and is a true step of the problem), "slip" (does not hold), "carried"
    (holds, and is a true step but for wrong results written earlier in the text) or "foreign" (holds,
    and is no step of the problem: a misread number, a wrong operation, a skipped step).
    """

    check: StepCheck
    status: Status

    @property
    def holds(self) -> bool:
        """Whether the arithmetic holds."""
        return self.check.valid

    @property
    def reason(self) -> str:
        """What is wrong, in words; "" for a valid step."""
        return REASONS[self.status]


def grade_steps(problem: Problem, text: str) -> list[GradedStep]:
    """Grade every equation written in `text`, in order of appearance."""
    return _grade(problem, text)[0]


def first_wrong_step(problem: Problem, text: str) -> int | None:
    """Index in `grade_steps(problem, text)` of the first step that is not valid, or None."""
    return next((i for i, step in enumerate(grade_steps(problem, text)) if step.status != "valid"), None)


def missing_steps(problem: Problem, text: str) -> list[Step]:
    """True steps that `text` writes nowhere as valid ones; all of them where it writes no equations."""
    written = _grade(problem, text)[1]
    missing = []
    for step in problem.steps:
        if written[step] > 0:
            written[step] -= 1
        else:
            missing.append(step)
    return missing


# --- Matching ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Operation:
    """One `left op right` of a written expression, its operands evaluated."""

    left: Fraction
    op: str
    right: Fraction

    @classmethod
    def of(cls, left: int, op: str, right: int) -> _Operation:
        return cls(Fraction(left), op, Fraction(right))


def _grade(problem: Problem, text: str) -> tuple[list[GradedStep], Counter[Step]]:
    """The graded steps, and how often each true step was written as a valid one."""
    checks = check_steps(text)
    if not problem.steps:
        return [GradedStep(c, "valid" if c.valid else "slip") for c in checks], Counter()
    truth = _Truth(problem.steps)
    return [GradedStep(check, truth.status(check)) for check in checks], truth.written


class _Truth:
    """A problem's true steps, and the wrong results a text has written so far."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self.steps = steps
        self.sources = operand_sources(steps)
        self.wrong: dict[Fraction, set[int]] = {}  # wrong result -> the steps it may stand for
        self.written: Counter[Step] = Counter()

    def status(self, check: StepCheck) -> Status:
        """Grade the next equation of the text and remember what it got wrong."""
        left, right = _operations(check.left), _operations(check.right)
        result = _value(check.right)
        if left is None or right is None:  # no plain arithmetic (units inside, percentages)
            self._remember(result, ANY)
            return "foreign" if check.valid else "slip"
        operations = left + right
        matches = [self._true_step(o) for o in operations]
        last = matches[len(left) - 1] if left else None  # the true step that the left side as a whole is
        stands_for = self._carried_steps(left[-1]) if left else set()  # the left side as a whole, were it carried
        if check.valid and None not in matches:
            self.written.update(self.steps[i] for i in matches[: len(left)] if i is not None)
            self._remember(result, *stands_for)  # true by chance; what follows may still carry a mistake
            return "valid"
        explained = all(i is not None or self._carried_steps(o) for i, o in zip(matches, operations, strict=True))
        if last is not None:
            stands_for = {last}
        self._remember(result, *(stands_for or {ANY}))
        if not check.valid:
            return "slip"
        return "carried" if explained else "foreign"

    def _true_step(self, operation: _Operation) -> int | None:
        """Index of the true step this operation is, or None."""
        exact = [i for i, s in enumerate(self.steps) if _Operation.of(s.left, s.op, s.right) == operation]
        return next(iter(exact or [i for i, s in enumerate(self.steps) if operation in _equivalents(s)]), None)

    def _carried_steps(self, operation: _Operation) -> set[int]:
        """The true steps this operation is once wrong results stand in for their derived operands."""
        found = set()
        for i, step in enumerate(self.steps):
            orders = [(operation.left, operation.right)]
            if step.op in "+*":
                orders.append((operation.right, operation.left))
            for left, right in orders if step.op == operation.op else ():
                changed = left != step.left or right != step.right
                from_left, from_right = self.sources[i]
                if changed and self._fits(left, step.left, from_left) and self._fits(right, step.right, from_right):
                    found.add(i)
        return found

    def _fits(self, written: Fraction, true: int, source: int | None) -> bool:
        """Whether an operand is the true one, or a wrong result where an earlier step's result belongs."""
        return written == true or (source is not None and not {source, ANY}.isdisjoint(self.wrong.get(written, ())))

    def _remember(self, result: Fraction | None, *indices: int) -> None:
        for index in indices:
            if result is not None and (index == ANY or result != self.steps[index].result):
                self.wrong.setdefault(result, set()).add(index)


def _equivalents(step: Step) -> set[_Operation]:
    """Other ways to write a step: the operands swapped, doubling as adding twice."""
    forms = {_Operation.of(step.right, step.op, step.left)} if step.op in "+*" else set()
    if step.op == "*" and 2 in (step.left, step.right):
        doubled = step.right if step.left == 2 else step.left
        forms.add(_Operation.of(doubled, "+", doubled))
    return forms


# --- Reading expressions -----------------------------------------------------------------------

_SIGNS = str.maketrans({"×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "[": "(", "]": ")"})
_PIECE = re.compile(
    r"(?P<number>[0-9][0-9,]*(?:\.[0-9]+)?)|(?P<op>[-+*/()])|(?P<word>[^\W\d_]+)|(?P<skip>[\s$€£\\.'’])|(?P<other>.)"
)


def _operations(expression: str) -> list[_Operation] | None:
    """The operations of a plain expression, innermost first; None where it is not plain arithmetic.

    "(56 + 16) * 2" has 56 + 16 and 72 * 2. Words are units and are skipped.
    """
    pieces = list(_pieces(expression))
    if any(kind == "other" for kind, _ in pieces):
        return None
    found: list[_Operation] = []
    rest = pieces[::-1]
    try:
        _total(rest, found)
    except (ValueError, ZeroDivisionError):
        return None
    return None if rest else found


def _value(expression: str) -> Fraction | None:
    """The number an equation's right side is, "= 5 apples" included; None where it is an expression."""
    numbers = [text for kind, text in _pieces(expression) if kind != "word"]
    return parse_number(numbers[0]) if len(numbers) == 1 else None


def _pieces(expression: str) -> Iterable[tuple[str, str]]:
    for match in _PIECE.finditer(expression.translate(_SIGNS)):
        kind, text = str(match.lastgroup), match[0]
        if text in ("x", "X"):
            kind, text = "op", "*"
        if kind not in ("skip", "word"):
            yield kind, text


def _total(rest: list[tuple[str, str]], found: list[_Operation]) -> Fraction:
    value = _product(rest, found)
    while rest and rest[-1][1] in ("+", "-"):
        value = _apply(value, rest.pop()[1], _product(rest, found), found)
    return value


def _product(rest: list[tuple[str, str]], found: list[_Operation]) -> Fraction:
    value = _atom(rest, found)
    while rest and rest[-1][1] in ("*", "/"):
        value = _apply(value, rest.pop()[1], _atom(rest, found), found)
    return value


def _atom(rest: list[tuple[str, str]], found: list[_Operation]) -> Fraction:
    kind, text = rest.pop() if rest else ("", "")
    if text == "(":
        value = _total(rest, found)
        if not rest or rest.pop()[1] != ")":
            raise ValueError("parenthesis not closed")
        return value
    number = parse_number(text) if kind == "number" else None
    if number is None:
        raise ValueError("operand missing")
    return number


def _apply(left: Fraction, op: str, right: Fraction, found: list[_Operation]) -> Fraction:
    found.append(_Operation(left, op, right))
    return {"+": left + right, "-": left - right, "*": left * right}[op] if op != "/" else left / right
