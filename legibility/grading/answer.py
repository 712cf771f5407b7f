"""The symbolic answer grader: final answer against gold answer, exactly but for golds that are float noise.

`grade` is the ground truth of the game (Kirchner, Chen et al. 2024, arXiv 2407.13692, Sec. 3): it
compares the final answer with the gold one and reads nothing else. It departs from the paper in one
thing: an answer it cannot read is a third verdict, `invalid`, instead of `incorrect`, so that broken
formatting never becomes a verifier label; `unparsed="incorrect"` restores the paper's rule.
Values are exact fractions, nothing is handed to `eval`, and work is linear in the text. Where a data set
wrote 3244047.0999999996 for its answer, 3244047.1 is right: see `tolerance`. The check of written steps is
`legibility.grading.arithmetic`.
"""

from __future__ import annotations

import re
import struct
from enum import Enum
from fractions import Fraction
from functools import lru_cache

from legibility.errors import UserError
from legibility.grading.expressions import DIGITS

MAX_ANSWER_CHARS = 4300  # what Python reads as an integer, so every number of a JSON file; more could stall a run
NOISY_DIGITS = 10  # significant digits from which a fractional gold is taken for the output of a float computation
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:[$€£] ?)?(?P<sign2>-?)"
    rf"(?:(?P<top>{DIGITS}) ?/ ?(?P<bottom>{DIGITS})|(?P<plain>{DIGITS}(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3}))?)"
    r"(?: ?%)?\.?"
)


class Verdict(str, Enum):
    """What the grader says of one solution."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    INVALID = "invalid"


def grade(
    solution: str, answer: str, marker: str = "####", *, truncated: bool = False, unparsed: str = "invalid"
) -> Verdict:
    """Compare a solution's final answer with the gold answer: as exact values, or within the gold's `tolerance`.

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
    if parse_number(answer) is None:
        raise UserError(f"gold answer {answer[:80]!r} is not a number; mend it in the problem file")
    found = extract_answer(solution, marker)
    if truncated or found is None:
        return Verdict(unparsed)
    return Verdict.CORRECT if agrees(found, answer) else Verdict.INCORRECT


def agrees(value: Fraction | None, gold: str) -> bool:
    """Whether a value is the gold answer: exactly, or within `tolerance(gold)`. False where either is no number."""
    right = parse_number(gold)
    return value is not None and right is not None and abs(value - right) <= tolerance(gold)


def tolerance(gold: str) -> Fraction:
    """How far from a gold answer a right answer may be: 0, but for a gold that a float computation left noisy.

    A gold is noisy where it has at least ten significant digits and a fractional part (`3244047.0999999996`,
    `0.6666666667`), or is a float in scientific notation with that many (`1.2345678901234568e+19`). People and
    exact computations write no such answers. Its tolerance is one part in 10^9, though at most 0.001 and at least
    10^-12 (what is left of 0.1 + 0.2 - 0.3) or two units of a float's precision (2^-51 of it), whichever is more:
    3244047.1 and 2/3 are right above, 3244047.11 and 0.67 are not. A noisy gold that is a single-precision float to
    its last digit (`12.350000381469727`, of a float32 column or tensor) has that type's rounding, 2^-24 of it, though
    at most 0.001. Golds with fewer digits, whole numbers and fractions are exact: 0.33 is not 1/3.

    Not in the paper, whose golds are whole numbers.
    """
    value, match = parse_number(gold), _match(gold)
    if value is None or match is None or match["plain"] is None:
        return Fraction(0)
    digits = re.sub(r"[^0-9]", "", match["plain"]).lstrip("0")
    if len(digits) < NOISY_DIGITS or (value.denominator == 1 and match["exponent"] is None):
        return Fraction(0)
    size = abs(value)
    noise = min(size / 2**24 if _single(value) else size / 10**9, Fraction(1, 1000))
    return max(noise, Fraction(1, 10**12), size / 2**51)


def _single(value: Fraction) -> bool:
    """Whether a value is, as a float, one of single precision."""
    try:
        wide = float(value)
        return bool(struct.unpack("f", struct.pack("f", wide))[0] == wide)
    except OverflowError:
        return False


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


@lru_cache(maxsize=1 << 16)  # the texts of a run hold the same few numbers again and again
def parse_number(text: str) -> Fraction | None:
    """The exact value of a text that is one number and nothing else.

    Reads thousands separators, a leading $ € or £, a minus sign or en dash, decimals, scientific notation as
    programs write it ("2.0107e-06"), a plain fraction "3/4", a percent sign (which is dropped: "50%" is 50) and one
    closing full stop. Anything else is no number: units, "36*2", commas out of place, more than 4,300 characters.

    Args:
        text: any text; white space around it is ignored.

    Returns:
        The value, or None.
    """
    match = _match(text)
    if match is None:
        return None
    top, bottom = (
        Fraction((part or "1").replace(",", "")) for part in (match["plain"] or match["top"], match["bottom"])
    )
    if bottom == 0:
        return None
    value = top / bottom * Fraction(10) ** int(match["exponent"] or 0)
    return -value if "-" in match["sign"] + match["sign2"] else value


def _match(text: str) -> re.Match[str] | None:
    text = text.strip()
    if len(text) > MAX_ANSWER_CHARS:
        return None
    match = _NUMBER.fullmatch(text.replace("−", "-").replace("–", "-"))
    return None if match is None or (match["sign"] and match["sign2"]) else match
