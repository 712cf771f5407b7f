"""An arithmetic check of every written step (not in the paper, which asks a large model).

`check_steps` looks for equations in a solution and says which hold; what it cannot read with
confidence (algebra, prose in place of a number) it passes over rather than call wrong. Values are
exact fractions, nothing is handed to `eval`, and work is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from legibility.grading.expressions import Token, evaluate, readings, slack, tokenize

MAX_EXPRESSION_TOKENS = 40
MAX_CHUNK_TOKENS = 2_000  # between two stops or "="; nobody writes such a line, and to read one takes long
MAX_UNIT_WORDS = 3  # between a number and the operator after it: "12 small baby spoons + 2"


@dataclass(frozen=True)
class StepCheck:
    """One written equation. `expected` is the exact value of `left`, None where it divides by zero."""

    text: str
    start: int
    end: int
    valid: bool
    left: str
    right: str
    expected: Fraction | None


def check_steps(text: str) -> list[StepCheck]:
    """Find the equations written in a text and say which hold.

    - An equation has numbers on both sides and an operator (+ - * / × ÷ x, "1/2 of") on the left;
      "x = 5" is none. Of a chain `a = b = c` each neighbouring pair is checked.
    - GSM8K's `48/2 = <<48/2=24>>24` is one step, the one inside the marks; but where the text around
      them can be read and does not hold, the step is that text. Elsewhere in an expression marks are
      skipped. Marks without an operator (`<<24=24>>`) are no step.
    - A right side written with decimals holds when it is the exact value rounded to them, half either
      way (1/3 = 0.33), or cut where "..." follows; one without decimals must be exact.
    - `%` divides by 100 (50% * 20 = 10). It may also be a unit: on the right when the left has none
      (1/4 * 100 = 25%), in sums (100% - 20% = 80), and in "* 100%".
    - Up to three unit words may follow a number. An equation that mixes measures (hours and minutes,
      dollars and cents) is reported only if it holds as written.

    Args:
        text: any text.

    Returns:
        The steps in order of appearance; `start` and `end` are offsets into `text`.
    """
    found = [step for begin, end in _lines_with_equals(text) for step in _steps(text, begin, end)]
    return sorted(found, key=lambda step: step.start)


def _lines_with_equals(text: str) -> Iterator[tuple[int, int]]:
    """Where the lines that hold a "=" begin and end. No equation runs over a line's end, so no other line has one."""
    equals = text.find("=")
    while equals >= 0:
        end = text.find("\n", equals)
        end = len(text) if end < 0 else end
        yield text.rfind("\n", 0, equals) + 1, end
        equals = text.find("=", end)


# Words that make the number after them something else than it looks: "half of 10 + 3", "5 more than 2 + 2".
_MODIFIERS = frozenset(
    [
        "half",
        "third",
        "thirds",
        "quarter",
        "quarters",
        "fourth",
        "fourths",
        "fifth",
        "fifths",
        "sixth",
        "eighth",
        "tenth",
        "twice",
        "thrice",
        "double",
        "triple",
        "percent",
        "dozen",
        "times",
        "plus",
        "minus",
        "than",
        "by",
    ]
)
# Words that are no unit: "X = 9 because -18 / -2 = 9".
_PROSE = frozenset(
    [
        "because",
        "so",
        "since",
        "then",
        "and",
        "but",
        "or",
        "which",
        "if",
        "when",
        "as",
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "had",
    ]
)
# Without their plural s. Two of them in one failing equation may be a conversion: "1 hour / 2 = 30 minutes".
_MEASURES = frozenset(
    [
        "second",
        "minute",
        "min",
        "hour",
        "hr",
        "day",
        "week",
        "month",
        "year",
        "decade",
        "inch",
        "inche",
        "foot",
        "feet",
        "ft",
        "yard",
        "mile",
        "cm",
        "mm",
        "km",
        "m",
        "meter",
        "metre",
        "centimeter",
        "kilometer",
        "ounce",
        "oz",
        "pound",
        "lb",
        "ton",
        "g",
        "kg",
        "gram",
        "kilogram",
        "cup",
        "pint",
        "quart",
        "gallon",
        "liter",
        "litre",
        "ml",
        "l",
        "cent",
        "dollar",
        "penny",
        "pennie",
        "nickel",
        "dime",
        "quarter",
        "dozen",
    ]
)
_UNIT_LETTERS = frozenset("aAIghlmsL")  # after a space; any other single letter is an unknown of algebra


@dataclass
class _Run:
    """Neighbouring tokens that may form an expression; not `sound` when part of it cannot be read."""

    tokens: list[Token] = field(default_factory=list)
    sound: bool = True
    operand: bool = False  # it ends in an operand, so an operator may follow
    after_words: bool = False  # prose stands before it
    depth: int = 0  # parentheses still open
    words: int = 0  # words since the last operand
    units: set[str] = field(default_factory=set)


def _steps(text: str, begin: int, end: int) -> Iterator[StepCheck]:
    chunk: list[Token] = []  # what stands since the last "=" or stop
    left: _Run | None = None  # what stands before the "=" last seen, where that can be read
    chained = False  # left is also the right side of a step
    marked: list[StepCheck] = []  # steps in the marks right after that "="
    for token in tokenize(text, begin, end):
        if token.kind == "marks":
            inner = list(_steps(text, token.start + 2, token.end - 2))
            if chunk:
                yield from inner
            else:
                marked += inner
        elif token.kind not in ("eq", "stop"):
            chunk.append(token)
        else:
            runs = _runs(chunk) if 0 < len(chunk) <= MAX_CHUNK_TOKENS else []
            step = _check(text, left, runs[0], chained) if left and runs and not runs[0].after_words else None
            if marked and marked[-1].valid and step and not step.valid:
                marked[-1] = step
            yield from marked or ([step] if step else [])
            readable = token.kind == "eq" and runs and runs[-1].words <= MAX_UNIT_WORDS
            left, chained = (runs[-1] if readable else None), step is not None and len(runs) == 1
            chunk, marked = [], []


def _runs(chunk: list[Token]) -> list[_Run]:
    """Part a chunk into runs where prose stands between numbers: "12 and she ate | 5 + 6"."""
    runs = [_Run()]
    for i, token in enumerate(chunk):
        run, before = runs[-1], chunk[i - 1] if i else None
        token = _in_context(chunk, i, run)
        if token.kind == "word":
            _read_word(runs, token, before)
        elif token.kind == "op" and run.operand:
            if run.words > MAX_UNIT_WORDS:
                runs.append(_Run(sound=False))
            runs[-1].tokens.append(token)
            runs[-1].operand = False
        elif token.kind == "op":
            attached = i + 1 < len(chunk) and not chunk[i + 1].spaced
            if token.text in "+-" and (run.tokens or (attached and (before is None or token.spaced))):
                run.tokens.append(token._replace(kind="sign"))
            elif run.tokens or attached or not token.first:  # else the bullet of a list
                run.sound = False
        elif token.kind == "close" and run.depth:
            run.sound = run.sound and run.operand
            run.tokens.append(token)
            run.depth, run.operand = run.depth - 1, True
        elif token.kind == "close":  # it closes prose: a number after it starts afresh, an operator does not
            runs.append(_Run(sound=False, operand=True, words=1))
        elif token.kind == "unknown":
            run.sound, run.operand = False, True
        else:  # a number or an opening parenthesis
            if run.operand and run.words > 0:
                runs.append(_Run(after_words=True))
            elif run.operand and token.kind == "open" and not token.spaced:
                run.tokens.append(token._replace(kind="op", text="*"))
            elif run.operand and token.kind == "open":
                runs.append(_Run(sound=False))  # "8 (5 + 3)" is a remark, not a product
            elif run.operand:
                run.sound = False  # "1 1/2"
            run = runs[-1]
            just_before = {other.text.lower() for other in chunk[max(0, i - 2) : i]}
            if not run.tokens and not just_before.isdisjoint(_MODIFIERS):
                run.sound = False
            run.tokens.append(token)
            run.depth += token.kind == "open"
            run.operand = token.kind == "num"
            if "$" in token.text:
                run.units.add("dollar")
        if token.kind != "word" and token.kind != "close":
            runs[-1].words = 0
    return [run for run in runs if run.tokens or not run.sound]


def _in_context(chunk: list[Token], i: int, run: _Run) -> Token:
    """The token, its kind put right where that hangs on what stands around it."""
    token, before = chunk[i], chunk[i - 1] if i else None
    if token.kind == "num" and before and before.kind == "word":
        around = [t.text for t in chunk[i - 1 : i + 2 : 2]]
        mixed = around == ["and", "/"] and i > 1 and chunk[i - 2].kind == "num"
        if mixed or not token.spaced:  # "5 and 2/3", "x2", "1e3"
            run.words = 0
            return token._replace(kind="unknown")
    if token.kind == "word":
        word = token.text.lower()
        if len(word) == 1 and not (token.spaced and token.text in _UNIT_LETTERS):
            return token._replace(kind="unknown")
        if word == "of" and run.operand and not run.words:
            part = run.tokens and ("%" in run.tokens[-1].text or [t.text for t in run.tokens[-2:-1]] == ["/"])
            if part and i + 1 < len(chunk) and chunk[i + 1].kind in ("num", "open"):
                return token._replace(kind="op", text="*")  # "20% of 50", "1/2 of 10"
            return token._replace(kind="unknown")  # "1/3 of Tom's", "2 of 10"
    return token


def _read_word(runs: list[_Run], token: Token, before: Token | None) -> None:
    run = runs[-1]
    hanging = before is not None and before.kind == "op" and run.tokens and run.tokens[-1].kind == "op"
    if run.operand:
        run.words += 1 if token.text.lower() not in _PROSE else MAX_UNIT_WORDS + 1
    elif hanging and run.tokens[-1].text in "-/" and not token.spaced and not run.tokens[-1].spaced:
        run.tokens.pop()  # "5-pound", "$3/bucket"
        run.words, run.operand = 1, True
    elif hanging and run.tokens[-1].text == "-":
        run.tokens.pop()  # a dash between clauses
        run.words, run.operand = MAX_UNIT_WORDS + 1, True
    elif len(run.tokens) == run.depth:  # nothing yet, or opened parentheses: prose before an expression
        runs[-1] = run = _Run(after_words=True, sound=run.sound)
    else:  # "3 + the other 4": the number that comes is not the operand, so keep it in this run
        run.sound, run.operand, run.words = False, True, -MAX_UNIT_WORDS
    run.units.update(re.split(r"[/'’-]", token.text.lower()))


def _check(text: str, left: _Run, right: _Run, chained: bool) -> StepCheck | None:
    """A pair of expressions as a step; None where they cannot be read or are no equation."""
    # "(so 3 + 4 = 7)": parentheses that open before the left side and close after the right one.
    lead = left.tokens[left.depth :]
    if any(token.kind != "open" for token in left.tokens[: left.depth]) or not (left.sound and right.sound):
        return None
    if not all(0 < len(tokens) <= MAX_EXPRESSION_TOKENS for tokens in (lead, right.tokens)):
        return None
    if not chained and all(token.kind != "op" for token in lead):
        return None
    valid, expected = False, None
    for left_percent, right_percent in readings(lead, right.tokens):
        try:
            value = evaluate(lead, left_percent)
            expected = Fraction(value) if expected is None else expected
            written = evaluate(right.tokens, right_percent)
        except ZeroDivisionError:
            continue
        except ValueError:
            return None
        valid = value == written or abs(Fraction(value) - written) <= slack(right.tokens, right_percent)
        if valid:
            break
    if not valid and _doubtful(left, right):
        return None
    start, end = lead[0].start, right.tokens[-1].end
    sides = text[start : lead[-1].end], text[right.tokens[0].start : end]
    return StepCheck(text[start:end], start, end, valid, *sides, expected)


def _doubtful(left: _Run, right: _Run) -> bool:
    """Whether an equation that fails as read may hold as meant."""
    units = left.units | right.units
    measures = {unit.rstrip("s") for unit in units} & _MEASURES
    if len(measures) > 1 or not units.isdisjoint(("dozen", "remainder")):
        return True
    if not any(token.kind == "op" for token in left.tokens + right.tokens):
        return bool(left.units and right.units and left.units != right.units)  # "= 16 legs = 2 spiders"
    slashes = {a.spaced or b.spaced for a, b in pairwise(left.tokens) if a.text == "/"}
    return len(slashes) > 1  # "60 / 3/4 = 80"
