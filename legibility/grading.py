"""The symbolic answer grader, and an arithmetic check of every written step.

`grade` is the ground truth of the game (Kirchner, Chen et al. 2024, arXiv 2407.13692, Sec. 3): it
compares the final answer with the gold one and reads nothing else. It departs from the paper in one
thing: an answer it cannot read is a third verdict, `invalid`, instead of `incorrect`, so that broken
formatting never becomes a verifier label; `unparsed="incorrect"` restores the paper's rule.
`check_steps` is not in the paper. It looks for equations in a solution and says which hold; what it
cannot read with confidence (algebra, prose in place of a number) it passes over rather than call
wrong. Values are exact fractions, nothing is handed to `eval`, and work is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from legibility.errors import UserError

MAX_NUMBER_CHARS = 60  # a longer number is not read: arithmetic on it could stall a run
MAX_EXPRESSION_TOKENS = 40
MAX_UNIT_WORDS = 3  # between a number and the operator after it: "12 small baby spoons + 2"

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:[$€£] ?)?(?P<sign2>-?)"
    rf"(?:(?P<top>{_DIGITS}) ?/ ?(?P<bottom>{_DIGITS})|(?P<plain>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+))"
    r"(?: ?%)?\.?"
)
_LOOSE_NUMBER = re.compile(rf"(?:(?<![\w).])[-−–])?[$€£]?(?:{_DIGITS}(?:\.[0-9]+|/[0-9]+)?|\.[0-9]+)")


class Verdict(str, Enum):
    """What the grader says of one solution."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    INVALID = "invalid"


def grade(
    solution: str, answer: str, marker: str = "####", *, truncated: bool = False, unparsed: str = "invalid"
) -> Verdict:
    """Compare a solution's final answer with the gold answer, as exact values.

    Args:
        solution: the completion, without its prompt (a marker in the prompt would count).
        answer: the gold answer as the data set writes it, for example "1,200".
        marker: what opens the answer line; case matters.
        truncated: the completion was cut off at the length limit, so its last line is not to be trusted.
        unparsed: "invalid", or "incorrect" for the paper's rule that an unreadable answer is wrong.

    Returns:
        CORRECT or INCORRECT; where `extract_answer` finds no answer or `truncated`, what `unparsed` says.

    Raises:
        ValueError: `unparsed` is neither of the two, or the marker is blank.
        UserError: the gold answer is not a number.
    """
    if unparsed not in ("invalid", "incorrect"):
        raise ValueError(f"unparsed must be 'invalid' or 'incorrect', not {unparsed!r}")
    gold = parse_number(answer)
    if gold is None:
        raise UserError(f"gold answer {answer[:80]!r} is not a number; mend it in the problem file")
    found = extract_answer(solution, marker)
    if truncated or found is None:
        return Verdict(unparsed)
    return Verdict.CORRECT if found == gold else Verdict.INCORRECT


def extract_answer(solution: str, marker: str = "####") -> Fraction | None:
    """The value on the answer line, read strictly.

    The last non-blank line must be the marker and a number, nothing else. A line is an answer line
    when the marker opens it; earlier ones must hold the same value, since two answers are none.
    A marker in the middle of a line is text.

    Args:
        solution: the completion, without its prompt.
        marker: what opens the answer line; case matters.

    Returns:
        The value, or None where the rules above are broken.

    Raises:
        ValueError: the marker is blank.
    """
    marker = marker.strip()
    if not marker:
        raise ValueError("marker must not be blank")
    # Only "\n" ends a line: str.splitlines would also split at characters that print as nothing.
    lines = [line.strip() for line in solution.strip().split("\n")]
    if not lines[-1].startswith(marker):
        return None
    values = {parse_number(line[len(marker) :]) for line in lines if line.startswith(marker)}
    return values.pop() if len(values) == 1 else None


def flexible_answer(text: str) -> Fraction | None:
    """The last number in a text: a lenient second opinion, logged beside the verdict, never used as one.

    Args:
        text: any text.

    Returns:
        The value of the last readable number ("3/4" is one number), or None.
    """
    for found in reversed(_LOOSE_NUMBER.findall(text)):
        value = parse_number(found)
        if value is not None:
            return value
    return None


def parse_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else.

    Reads thousands separators, a leading $ € or £, a minus sign or en dash, decimals, a plain fraction
    "3/4", a percent sign (which is dropped: "50%" is 50) and one closing full stop. Anything else is
    no number: units, exponents, "36*2", commas out of place, more than 60 characters.

    Args:
        text: any text; white space around it is ignored.

    Returns:
        The value, or None.
    """
    text = text.strip()
    if len(text) > MAX_NUMBER_CHARS:
        return None
    match = _NUMBER.fullmatch(text.replace("−", "-").replace("–", "-"))
    if match is None or (match["sign"] and match["sign2"]):
        return None
    top, bottom = (
        Fraction((part or "1").replace(",", "")) for part in (match["plain"] or match["top"], match["bottom"])
    )
    if bottom == 0:
        return None
    value = top / bottom
    return -value if "-" in match["sign"] + match["sign2"] else value


# --- Steps -------------------------------------------------------------------------------------


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

    - An equation has numbers on both sides and an operator (+ - * / × ÷ x, "plus", "times", "1/2 of")
      on the left; "x = 5" is none. Of a chain `a = b = c` each neighbouring pair is checked.
    - GSM8K's `48/2 = <<48/2=24>>24` is one step, the one inside the marks. It also fails when the
      text around the marks can be read and does not hold. Elsewhere in an expression marks are skipped.
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
    return sorted(_steps(text, 0, len(text)), key=lambda step: step.start)


# Words that make the number after them something else than it looks: "half of 10 + 3", "5 more than 2 + 2".
_MODIFIERS = frozenset(
    "half third thirds quarter quarters fourth fourths fifth fifths sixth eighth tenth twice thrice double "
    "triple percent dozen times than by".split()
)
# Words that are no unit: "X = 9 because -18 / -2 = 9".
_PROSE = frozenset("because so since then and but or which if when as is are was were has have had".split())
# Without their plural s. Two of them in one failing equation may be a conversion: "1 hour / 2 = 30 minutes".
_MEASURES = frozenset(
    "second minute min hour hr day week month year decade inch inche foot feet ft yard mile cm mm km m meter "
    "metre centimeter kilometer ounce oz pound lb ton g kg gram kilogram cup pint quart gallon liter litre "
    "ml l cent dollar penny pennie nickel dime quarter dozen".split()
)
_UNIT_LETTERS = frozenset("aAIghlmsL")  # after a space; any other single letter is an unknown of algebra
_WORD_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "of": "*"}
_OPERATORS = {"×": "*", "·": "*", "⋅": "*", "x": "*", "X": "*", r"\times": "*", r"\cdot": "*"}
_OPERATORS |= {"÷": "/", r"\div": "/", "−": "-", "–": "-", **_WORD_OPERATORS}

_TOKEN = re.compile(
    rf"""(?P<marks><<[^<>\n]{{0,200}}>>)
    |(?P<num>(?:\\?[$€£][ ]?)?(?:{_DIGITS}(?:\.[0-9]+(?:\.\.\.|…)?)?|\.[0-9]+)(?:[ ]?\\?%)?)
    |(?P<unknown>\*\*(?=[ ]?[0-9(])|\^|(?<=[0-9])[:,](?=[0-9])|\\(?!(?:times|cdot|div)\b)[A-Za-z]+)
    |(?P<op>[xX](?=[ \t]*[$€£]?\(?[.0-9])|[+*/×÷·⋅−–-](?![*>])|\\(?:times|cdot|div)\b)
    |(?P<word>[^\W\d_]+(?:['’/-][^\W\d_]+)*)
    |(?P<eq>==?(?![=>]))
    |(?P<open>[(\[])|(?P<close>[)\]])
    |(?P<skip>[^\S\n]+|\\?[$€£])
    |(?P<stop>=+>?|[!<>~]=|\\?.)""",
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    kind: str  # a group of _TOKEN, or "sign" for a unary plus or minus
    text: str  # of an operator: one of + - * /
    start: int
    end: int
    spaced: bool  # white space before it
    first: bool  # nothing else before it on its line


@dataclass
class _Run:
    """Neighbouring tokens that may form an expression; not `sound` when part of it cannot be read."""

    tokens: list[_Token] = field(default_factory=list)
    sound: bool = True
    operand: bool = False  # it ends in an operand, so an operator may follow
    after_words: bool = False  # prose stands before it
    depth: int = 0  # parentheses still open
    words: int = 0  # words since the last operand
    units: set[str] = field(default_factory=set)


def _tokens(text: str, begin: int, end: int) -> Iterator[_Token]:
    spaced, first = False, True
    for match in _TOKEN.finditer(text, begin, end):
        kind, found = str(match.lastgroup), match[0]
        if kind == "skip":
            spaced = spaced or found.isspace()
            continue
        shown = _OPERATORS.get(found, found) if kind == "op" else found
        yield _Token(kind, shown, match.start(), match.end(), spaced, first)
        spaced, first = False, found == "\n"
    yield _Token("stop", "\n", end, end, False, False)


def _steps(text: str, begin: int, end: int) -> Iterator[StepCheck]:
    chunk: list[_Token] = []  # what stands since the last "=" or stop
    left: _Run | None = None  # what stands before the "=" last seen, where that can be read
    chained = False  # left is also the right side of a step
    marked: list[StepCheck] = []  # steps in the marks right after that "="
    for token in _tokens(text, begin, end):
        if token.kind == "marks":
            inner = list(_steps(text, token.start + 2, token.end - 2))
            if chunk:
                yield from inner
            else:
                marked += inner
        elif token.kind not in ("eq", "stop"):
            chunk.append(token)
        else:
            runs = _runs(chunk)
            step = _check(text, left, runs[0], chained) if left and runs and not runs[0].after_words else None
            if marked and step and not step.valid:
                marked[-1] = replace(marked[-1], valid=False)
            yield from marked or ([step] if step else [])
            readable = token.kind == "eq" and runs and runs[-1].words <= MAX_UNIT_WORDS
            left, chained = (runs[-1] if readable else None), step is not None and len(runs) == 1
            chunk, marked = [], []


def _runs(chunk: list[_Token]) -> list[_Run]:
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
            elif run.tokens or not token.first:  # else the bullet of a list
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
            if not run.tokens and _MODIFIERS.intersection(
                other.text.lower() for other in chunk[max(0, i - 2) : i]
            ):
                run.sound = False
            run.tokens.append(token)
            run.depth += token.kind == "open"
            run.operand = token.kind == "num"
            if "$" in token.text:
                run.units.add("dollar")
        if token.kind != "word" and token.kind != "close":
            runs[-1].words = 0
    return [run for run in runs if run.tokens or not run.sound]


def _in_context(chunk: list[_Token], i: int, run: _Run) -> _Token:
    """The token, its kind put right where that hangs on what stands around it."""
    token, before = chunk[i], chunk[i - 1] if i else None
    if token.kind == "num" and before and before.kind == "word":
        mixed = (
            [t.text for t in chunk[i - 1 : i]] == ["and"]
            and chunk[max(0, i - 2)].kind == "num"
            and [t.text for t in chunk[i + 1 : i + 2]] == ["/"]
        )
        if mixed or not token.spaced:  # "5 and 2/3", "x2", "1e3"
            run.words = 0
            return token._replace(kind="unknown")
    if token.kind == "word":
        word = token.text.lower()
        if len(word) == 1 and not (token.spaced and token.text in _UNIT_LETTERS):
            return token._replace(kind="unknown")
        if word in _WORD_OPERATORS and run.operand:
            number_next = i + 1 < len(chunk) and chunk[i + 1].kind in ("num", "open")
            if word != "of":
                return token._replace(kind="op", text=_WORD_OPERATORS[word]) if number_next else token
            part = run.tokens and ("%" in run.tokens[-1].text or [t.text for t in run.tokens[-2:-1]] == ["/"])
            if number_next and part and not run.words:  # "20% of 50", "1/2 of 10"
                return token._replace(kind="op", text="*")
            if not run.words:  # "1/3 of Tom's", "2 of 10"
                return token._replace(kind="unknown")
    return token


def _read_word(runs: list[_Run], token: _Token, before: _Token | None) -> None:
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
    for left_percent, right_percent in _readings(lead, right.tokens):
        try:
            value = _evaluate(lead, left_percent)
            expected = value if expected is None else expected
            gap = abs(value - _evaluate(right.tokens, right_percent))
        except ZeroDivisionError:
            continue
        except ValueError:
            return None
        valid = valid or gap <= _slack(right.tokens, right_percent)
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


def _readings(left: list[_Token], right: list[_Token]) -> list[tuple[Fraction, Fraction]]:
    """What a percent sign may be worth on the left and on the right, the literal reading first."""
    unit, percent = Fraction(1), Fraction(1, 100)
    readings = [(percent, percent)]
    on_left = {token.text for token in left if "%" in token.text}
    if not on_left and any("%" in token.text for token in right):
        readings.append((percent, unit))
    if on_left and (on_left == {"100%"} or all(token.text in "+-" for token in left if token.kind == "op")):
        readings.append((unit, unit))
    return readings


def _digits(number: str) -> str:
    return number.strip("\\$€£ %.…" if "." in number.lstrip("\\$€£ .") else "\\$€£ %…").replace(",", "")


def _slack(tokens: list[_Token], percent: Fraction) -> Fraction:
    """Half a unit of the last decimal of a side that is one number; a whole one where "..." cuts it."""
    number, (_, point, decimals) = tokens[-1].text, _digits(tokens[-1].text).partition(".")
    if not point or any(token.kind not in ("sign", "num") for token in tokens):
        return Fraction(0)
    slack = Fraction(1, 10 ** len(decimals)) * (percent if "%" in number else 1)
    return slack if re.search(r"\.\.\.|…", number) else slack / 2


def _evaluate(tokens: list[_Token], percent: Fraction) -> Fraction:
    """Recursive descent over + - * / and parentheses; ValueError where the tokens are no expression."""
    rest = list(reversed(tokens))

    def next_is(*operators: str) -> bool:
        return bool(rest) and rest[-1].kind == "op" and rest[-1].text in operators

    def atom() -> Fraction:
        token = rest.pop() if rest else None
        if token is None or token.kind not in ("num", "sign", "open"):
            raise ValueError("operand missing")
        if token.kind == "sign":
            return -atom() if token.text == "-" else atom()
        if token.kind == "num":
            digits = _digits(token.text)
            if len(digits) > MAX_NUMBER_CHARS:
                raise ValueError("number too long")
            value = Fraction(int(digits) if digits.isdigit() else digits)  # much faster from an int
            return value * percent if "%" in token.text else value
        value = total()
        if not rest or rest.pop().kind != "close":
            raise ValueError("parenthesis not closed")
        return value

    def product() -> Fraction:
        value = atom()
        while next_is("*", "/"):
            value = value * atom() if rest.pop().text == "*" else value / atom()
        return value

    def total() -> Fraction:
        value = product()
        while next_is("+", "-"):
            value = value + product() if rest.pop().text == "+" else value - product()
        return value

    value = total()
    if rest:
        raise ValueError("more than one expression")
    return value
