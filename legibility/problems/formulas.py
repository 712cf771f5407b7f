"""Worked solutions from formulas: ASDiv and SVAMP give an equation and an answer, not a text to learn from.

"7+2=9" with "9 (apples)" becomes the lines "7 + 2 = 9" and "#### 9". Units in brackets are left out. What does
not hold, is no arithmetic ("x + 3 = 5", "47/6 = 7 r5", "8 > 3"), or does not end in the answer gives None: a
half-understood formula is no reference.
"""

from __future__ import annotations

import re

from legibility.grading import check_steps, parse_number
from legibility.problems.sources import SOLUTION_MARKER

MAX_CHARS = 2_000  # the patterns below are slow on long text, and no formula is
UNIT = re.compile(r"\([^()]*[A-Za-z$%][^()]*\)")  # (cent), (min/hour)
TRAILING = re.compile(r"(?<=\d)\s*(?:r0|[A-Za-z][A-Za-z .]*)$")  # "198 cents", and a remainder of nothing
NUMBER = r"\d+(?:\.\d+)?"
EQUATION = re.compile(rf"(?P<left>[\d.+\-*/()\s]+?)\s*=\s*(?P<right>{NUMBER})")
TOKEN = re.compile(rf"{NUMBER}|[-+*/()]")
ANSWER = re.compile(rf"\s*(?P<value>{NUMBER})\s*(?:\([^()]*\))?\s*")


def solution_of(formula: str, answer: str) -> tuple[str, str] | None:
    """The worked solution and the gold answer of a formula, or None where there is no sound one.

    formula: equations, several separated by semicolons. answer: a number, perhaps with its unit in brackets.
    """
    found = ANSWER.fullmatch(answer) if len(answer) + len(formula) <= MAX_CHARS else None
    if found is None:
        return None
    lines = []
    for part in UNIT.sub("", formula).split(";"):
        equation = EQUATION.fullmatch(TRAILING.sub("", part.strip()))
        if equation is None or not any(sign in equation["left"] for sign in "+-*/"):
            return None
        lines.append(f"{_spaced(equation['left'])} = {equation['right']}")
    steps = check_steps("\n".join(lines))
    if len(steps) != len(lines) or not all(step.valid for step in steps):
        return None
    gold = found["value"]
    if parse_number(lines[-1].rpartition("= ")[2]) != parse_number(gold):
        return None
    return "\n".join([*lines, f"{SOLUTION_MARKER} {gold}"]), gold


def solution_of_expression(expression: str, value: float) -> tuple[str, str] | None:
    """The same of an expression without its result, as SVAMP has it: "( 290.0 / 2.0 )" with 145.0."""
    left = re.sub(r"(\d)\.0\b", r"\1", expression).strip()
    while left.startswith("(") and left.endswith(")") and _closes_at_the_end(left):
        left = left[1:-1].strip()
    gold = str(int(value)) if float(value).is_integer() else str(value)
    return solution_of(f"{left}={gold}", gold)


def _spaced(expression: str) -> str:
    """One space around operators, none inside brackets."""
    return " ".join(TOKEN.findall(expression)).replace("( ", "(").replace(" )", ")")


def _closes_at_the_end(text: str) -> bool:
    """Whether the bracket that opens the text is the one that closes it."""
    depth = 0
    for i, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return i == len(text) - 1
    return False
