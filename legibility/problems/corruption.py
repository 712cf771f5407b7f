"""Corrupted twins: a reference solution with one number of one step changed, and carried through.

Real text with a known truth, where no model's solutions are at hand. A *slip* changes a step's result
(its arithmetic no longer holds); a *misread* changes a number the step takes from the problem (its
arithmetic holds). Later steps go on from the wrong number, so the final answer is wrong and every
other equation still holds. Not in the paper.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product

import numpy as np

from legibility.grading import Verdict, check_steps, grade, parse_number
from legibility.grading.arithmetic import StepCheck
from legibility.grading.expressions import DIGITS, MAX_NUMBER_CHARS
from legibility.problems.records import Problem

NUMBER = re.compile(rf"(?<![\w.,])(?P<currency>[$€£]?)(?P<value>{DIGITS}(?:\.[0-9]+)?)(?![\w]|[.,][0-9])")


@dataclass(frozen=True)
class Twin:
    """A wrong solution; `line` is the 1-based line of the changed number, `kind` slip or misread."""

    text: str
    line: int
    kind: str


def corrupt(problem: Problem, rng: np.random.Generator) -> Twin | None:
    """A corrupted twin of `problem.solution`, or None where no change can be carried through cleanly.

    Changes are tried in random order until one gives a solution whose final answer is wrong, whose
    equations all hold but for the slip itself, and whose numbers keep their form (whole stays whole).
    Solutions with an equation that `check_steps` cannot read, or with chains a = b = c, are left alone.
    """
    if any(
        len(m["value"]) > MAX_NUMBER_CHARS for t in (problem.question, problem.solution) for m in NUMBER.finditer(t)
    ):
        return None  # a number that `check_steps` does not read
    steps = check_steps(problem.solution)
    apart = all(one.end <= other.start for one, other in pairwise(steps))
    if not apart or sum(s.text.count("=") for s in steps) != problem.solution.count("="):
        return None
    choices = list(product(range(len(steps)), ("slip", "misread"), (-3, -2, -1, 1, 2, 3, 10)))
    for i in rng.permutation(len(choices)):
        k, kind, delta = choices[i]
        twin = _change(problem, steps, k, kind, delta, rng)
        if twin is not None and _clean(problem, twin, steps, k):
            return twin
    return None


def _change(
    problem: Problem, steps: list[StepCheck], k: int, kind: str, delta: int, rng: np.random.Generator
) -> Twin | None:
    """The text with one number of step k moved by delta, and every later number that follows from it."""
    text, step = problem.solution, steps[k]
    given = {_value(m) for m in NUMBER.finditer(problem.question)}
    equals = text.index("=", step.start)
    places = [m for m in NUMBER.finditer(text, step.start, step.end) if (m.start() > equals) == (kind == "slip")]
    if kind == "misread":
        places = [m for m in places if _value(m) in given]
    if not places:
        return None
    place = places[int(rng.integers(len(places)))]
    known = given | {_value(m) for m in NUMBER.finditer(text, 0, place.start())}  # numbers that are not this result
    old, new = _value(place), _value(place) + delta
    if new < 2 or new in known or (kind == "slip" and old in known):
        return None  # a later use of the number could mean something else
    changed = {old: new} if kind == "slip" else {}
    out, at = text[: place.start()] + _written(place, new), place.end()
    for later in steps[k + (kind == "slip") :]:
        begin = step.start if later is step else len(out) + len(_carried(text[at : later.start], changed))
        equals = text.index("=", later.start)
        out += _carried(text[at:equals], changed)
        value, right = _evaluate(out[begin:]), NUMBER.search(text, equals, later.end)
        if right is None or value is None or value < 0:
            return None
        if value != _value(right):
            if _value(right) in known:
                return None
            changed[_value(right)] = value
        out += text[equals : right.start()] + _written(right, value)
        at = right.end()
    return Twin(out + _carried(text[at:], changed), text.count("\n", 0, place.start()) + 1, kind)


def _carried(text: str, changed: dict[Fraction, Fraction]) -> str:
    return NUMBER.sub(lambda m: _written(m, changed.get(_value(m), _value(m))), text)


def _evaluate(left: str) -> Fraction | None:
    found = check_steps(f"{left} = 0")
    return found[-1].expected if found else None


def _value(match: re.Match[str]) -> Fraction:
    value = parse_number(match["value"])
    assert value is not None  # NUMBER matches only what parse_number reads
    return value


def _written(match: re.Match[str], value: Fraction) -> str:
    """The value in the style of the number it replaces: currency sign, thousands separator, decimals."""
    if value == _value(match):
        return match[0]
    decimals = len(match["value"].partition(".")[2])
    comma = "," if "," in match["value"] else ""
    whole, rest = divmod(round(value * 10**decimals), 10**decimals)  # a float holds 15 digits of it
    return f"{match['currency']}{whole:{comma}d}" + (f".{rest:0{decimals}d}" if decimals else "")


def _clean(problem: Problem, twin: Twin, steps: list[StepCheck], k: int) -> bool:
    """A wrong, positive answer, and the same equations, all as right as they were but for the slip."""
    final = parse_number(twin.text.rpartition("####")[2])
    if grade(twin.text, problem.answer) is not Verdict.INCORRECT or final is None or final <= 0:
        return False
    expected = [s.valid and not (twin.kind == "slip" and i == k) for i, s in enumerate(steps)]
    return [s.valid for s in check_steps(twin.text)] == expected
