"""Written arithmetic as tokens, and their exact value by recursive descent. Nothing is handed to `eval`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

MAX_NUMBER_CHARS = 60  # a longer number is not read: arithmetic on it could stall a run

DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"

_OPERATORS = {"×": "*", "·": "*", "⋅": "*", "x": "*", "X": "*", r"\times": "*", r"\cdot": "*"}
_OPERATORS |= {"÷": "/", r"\div": "/", "−": "-", "–": "-"}

_TOKEN = re.compile(
    rf"""(?P<marks><<[^<>\n]{{0,200}}>>)
    |(?P<num>(?:\\?[$€£][ ]?)?(?:{DIGITS}(?:\.[0-9]+(?:\.\.\.|…)?)?|\.[0-9]+)(?:[ ]?\\?%)?)
    |(?P<unknown>(?:(?<=[0-9)])|(?<=[0-9)][ ]))\*\*(?=[ ]?[0-9(])|\^|(?<=[0-9])[:,](?=[0-9])
        |\\(?!(?:times|cdot|div)\b)[A-Za-z]+)
    |(?P<op>[xX](?=[ \t]*[$€£]?\(?[.0-9])|[+*/×÷·⋅−–-](?![*>])|\\(?:times|cdot|div)\b)
    |(?P<word>[^\W\d_]+(?:['’/-][^\W\d_]+)*)
    |(?P<eq>==?(?![=>]))
    |(?P<open>[(\[])|(?P<close>[)\]])
    |(?P<skip>[^\S\n]+|\\?[$€£])
    |(?P<stop>=+>?|[!<>~]=|\*\*+|\\?.)""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A piece of written arithmetic, or of the prose around it."""

    kind: str  # a group of _TOKEN, or "sign" for a unary plus or minus
    text: str  # of an operator: one of + - * /
    start: int
    end: int
    spaced: bool  # white space before it
    first: bool  # nothing else before it on its line


def tokenize(text: str, begin: int, end: int) -> Iterator[Token]:
    """The tokens of text[begin:end] in order, white space left out, and a "stop" after the last."""
    spaced, first = False, True
    for match in _TOKEN.finditer(text, begin, end):
        kind, found = str(match.lastgroup), match[0]
        if kind == "skip":
            spaced = spaced or found.isspace()
            continue
        shown = _OPERATORS.get(found, found) if kind == "op" else found
        yield Token(kind, shown, match.start(), match.end(), spaced, first)
        spaced, first = False, found == "\n"
    yield Token("stop", "\n", end, end, False, False)


def readings(left: list[Token], right: list[Token]) -> Iterator[tuple[Fraction, Fraction]]:
    """What a percent sign may be worth on the left and on the right, the literal reading first."""
    unit, percent = Fraction(1), Fraction(1, 100)
    yield percent, percent
    on_left = {token.text for token in left if "%" in token.text}
    if not on_left and any("%" in token.text for token in right):
        yield percent, unit
    if on_left and (on_left == {"100%"} or all(token.text in "+-" for token in left if token.kind == "op")):
        yield unit, unit


def _digits(number: str) -> str:
    return re.sub(r"[^0-9.]", "", number).rstrip(".")


def slack(tokens: list[Token], percent: Fraction) -> Fraction:
    """Half a unit of the last decimal of a side that is one number; a whole one where "..." cuts it."""
    number = tokens[-1].text
    if "." not in number or any(token.kind not in ("sign", "num") for token in tokens):
        return Fraction(0)
    decimals = _digits(number).partition(".")[2]
    unit = Fraction(1, 10 ** len(decimals)) * (percent if "%" in number else 1)
    return unit if re.search(r"\.\.\.|…", number) else unit / 2


def evaluate(tokens: list[Token], percent: Fraction) -> Fraction | int:
    """The exact value of + - * / and parentheses over numbers, a percent sign being worth `percent`.

    Raises ValueError where the tokens are no expression, ZeroDivisionError where it divides by zero.
    """
    rest = list(reversed(tokens))

    def next_is(*operators: str) -> bool:
        return bool(rest) and rest[-1].kind == "op" and rest[-1].text in operators

    def atom() -> Fraction | int:
        token = rest.pop() if rest else None
        if token is None or token.kind not in ("num", "sign", "open"):
            raise ValueError("operand missing")
        if token.kind == "sign":
            return -atom() if token.text == "-" else atom()
        if token.kind == "num":
            digits = _digits(token.text)
            if len(digits) > MAX_NUMBER_CHARS:
                raise ValueError("number too long")
            number = int(digits) if digits.isdigit() else Fraction(digits)  # integers are much faster
            return number * percent if "%" in token.text else number
        value = total()
        if not rest or rest.pop().kind != "close":
            raise ValueError("parenthesis not closed")
        return value

    def product() -> Fraction | int:
        value = atom()
        while next_is("*", "/"):
            value = value * atom() if rest.pop().text == "*" else Fraction(value) / atom()
        return value

    def total() -> Fraction | int:
        value = product()
        while next_is("+", "-"):
            value = value + product() if rest.pop().text == "+" else value - product()
        return value

    value = total()
    if rest:
        raise ValueError("more than one expression")
    return value
