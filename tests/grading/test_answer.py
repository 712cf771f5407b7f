"""Reading a number, the answer line and the verdict: tables, fuzzing, and the real GSM8K where it is at hand."""

from __future__ import annotations

import struct
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.grading import Verdict, agrees, extract_answer, grade, parse_number
from legibility.grading.answer import MAX_ANSWER_CHARS, tolerance
from tests.grading.texts import ANY_TEXT, HOSTILE, gsm8k_answers, needs_gsm8k


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", 72),
        ("  72\t", 72),
        ("72.", 72),
        ("72.00", 72),
        ("072", 72),
        ("0.50", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("1,200", 1200),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("$1,200", 1200),
        ("$ 5", 5),
        ("€7", 7),
        ("£7.50.", Fraction(15, 2)),
        ("+5", 5),
        ("-5", -5),
        ("−5", -5),
        ("–5", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("50%", 50),
        ("50 %", 50),
        ("3/4", Fraction(3, 4)),
        ("-6/8", Fraction(-3, 4)),
        ("0.1", Fraction(1, 10)),  # exact, which a float is not
        ("2.0107e-06", Fraction(20107, 10**10)),
        ("-1.5E3", -1500),
        ("1e+16", 10**16),
        ("5e-324", Fraction(5, 10**324)),
        ("9" * MAX_ANSWER_CHARS, 10**MAX_ANSWER_CHARS - 1),
    ],
)
def test_numbers(text: str, value: Fraction) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "$",
        ".",
        "72 clips",
        "36*2",
        "1e",
        "e3",
        "1e3.5",
        "1e 3",
        "1e1000",
        "1/2e3",
        "1,20",
        "1,2345",
        "12,34,567",
        "3/0",
        "1/2/3",
        "1.5/2",
        *("--5", "-$-5", "5..", "1 000", "1_000", "0x10", "inf", "nan", "٣", "²", "½", "(5)", "**5**", "7\n2"),
        *("72 or 73", "#### 72", "9" * (MAX_ANSWER_CHARS + 1), "9" * 100_000, "1/" * 100_000),
    ],
)
def test_not_numbers(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    ("solution", "answer", "verdict"),
    [
        ("3 * 24 = 72\n#### 72", "72", "correct"),
        ("#### 72", "72", "correct"),
        ("####72", "72", "correct"),
        ("  #### 72  \n\n", "72", "correct"),
        ("so\r\n#### 72\r\n", "72", "correct"),
        ("#### $1,200.00", "1,200", "correct"),
        ("#### 1200", "1,200", "correct"),
        ("#### −5", "-5", "correct"),
        ("#### 0.75", "3/4", "correct"),
        ("#### 73", "72", "incorrect"),
        ("#### 72.0001", "72", "incorrect"),
        ("#### -72", "72", "incorrect"),
        ("#### 0.3333333333333333", "1/3", "incorrect"),
        # two answers are none; the same one twice is one
        ("#### 72\n#### 73", "73", "invalid"),
        ("#### 72 clips\n#### 72", "72", "invalid"),
        ("#### 72\nthat is\n#### 72.0", "72", "correct"),
        ("#### 72\n#### 72\nbye", "72", "invalid"),
        # the answer is the last line, and the marker opens it
        ("#### 72\nI hope this helps.", "72", "invalid"),
        ("#### 72\n####", "72", "invalid"),
        ("#### 72 #### 72", "72", "invalid"),
        ("which makes 72. #### 72", "72", "invalid"),
        ("the line `#### 71` is a decoy\n#### 72", "72", "correct"),
        ("#### 71\nis a decoy on the first line\n#### 72", "72", "invalid"),
        ("##### 72", "72", "invalid"),
        ("### 72", "72", "invalid"),
        # unreadable
        ("", "72", "invalid"),
        ("72", "72", "invalid"),
        ("####", "72", "invalid"),
        ("#### 72 clips", "72", "invalid"),
        ("#### 36*2", "72", "invalid"),
        ("#### 72\r#### 73", "72", "invalid"),
        ("#### 72\u2028so there", "72", "invalid"),
        ("#### " + "7" * 100_000, "72", "invalid"),
    ],
)
def test_verdicts(solution: str, answer: str, verdict: str) -> None:
    assert grade(solution, answer) == verdict
    paper = "incorrect" if verdict == "invalid" else verdict
    assert grade(solution, answer, unparsed="incorrect") == paper


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [  # noisy: ten significant digits and a fractional part, or a long float in scientific notation
        (
            "3244047.0999999996",
            ["3244047.1", "3,244,047.10", "3244047.0999999996"],
            ["3244047.11", "3244047", "3244048"],
        ),
        ("0.6666666667", ["2/3", "0.6666666667", "0.66666666666666663", "0.666666667"], ["0.67", "0.6667", "2/3.5"]),
        ("-0.6666666666", ["-2/3"], ["2/3", "-0.66"]),  # cut, not rounded
        ("72.00000000000001", ["72", "72.0"], ["72.001", "73"]),
        ("0.20000000018626451", ["0.2", "1/5"], ["0.2001"]),  # 3244047.1 - 3244046.9 in floats
        ("5.551115123125783e-17", ["0", "-0.0"], ["0.0001"]),  # 0.1 + 0.2 - 0.3 in floats
        ("98765432109.12", ["98765432109.12"], ["98765432109.13", "98765432109", "98765432109.11"]),
        ("1.2345678901234568e+19", ["12345678901234567891", "12345678901234567000"], ["12345678901234600000"]),
        # exact: fewer digits, whole numbers, fractions
        ("0.33", ["0.33", "0.330"], ["1/3", "0.333", "0.3300000001"]),
        ("1/3", ["1/3", "2/6"], ["0.33", "0.3333333333333333"]),
        ("0.666666667", ["0.666666667"], ["2/3", "0.6666666667"]),  # nine digits
        ("3244047.1", ["3244047.1"], ["3244047.0999999996"]),
        ("12345678901234567891", ["12345678901234567891"], ["12345678901234567892", "12345678901234567891.0000001"]),
        ("1234567890.0", ["1234567890"], ["1234567890.0000001"]),
        ("2.0107e-06", ["0.0000020107", "2.0107e-6"], ["0.000002", "2.0108e-06", "0"]),
        ("0.0000000012", ["1.2e-9"], ["0.000000001", "0"]),  # zeros before the first digit do not count
    ],
)
def test_noise_in_a_gold_is_forgiven_and_nothing_else(gold: str, right: list[str], wrong: list[str]) -> None:
    assert {a: grade(f"#### {a}", gold).value for a in right} == dict.fromkeys(right, "correct")
    verdicts = {a: grade(f"#### {a}", gold).value for a in wrong}
    assert set(verdicts.values()) <= {"incorrect", "invalid"}, verdicts


@pytest.mark.parametrize("number", ["0.1", "12.35", "0.7", "12345.68", "-3.3", "1e-7"])
def test_a_gold_of_single_precision(number: str) -> None:
    (gold,) = struct.unpack("f", struct.pack("f", float(number)))  # what a float32 column or tensor gives
    assert grade(f"#### {number}", repr(gold)) is Verdict.CORRECT
    assert grade(f"#### {float(number) * 1.001:f}", repr(gold)) is Verdict.INCORRECT


def test_the_tolerance_of_a_gold() -> None:
    assert tolerance("0.6666666667") == parse_number("0.6666666667") / 10**9
    assert tolerance("3244047.0999999996") == Fraction(1, 1000)
    assert tolerance("5.551115123125783e-17") == Fraction(1, 10**12)
    assert tolerance("1.2345678901234568e+19") == Fraction(12345678901234568000, 2**51)
    for exact in ("72", "0.33", "1/3", "1234567890123.0", "123456789012", "no number", "1e-300"):
        assert tolerance(exact) == 0
    assert not agrees(None, "72") and not agrees(Fraction(72), "many")


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_is_a_gold_that_its_own_text_answers(value: float) -> None:
    assert parse_number(repr(value)) == Fraction(repr(value))
    assert grade(f"#### {value!r}", repr(value)) == "correct"


@settings(max_examples=300, deadline=None)
@given(st.integers(-(10**7), 10**7), st.integers(1, 999), st.sampled_from("+-*/"))
def test_what_floats_make_of_decimals_never_costs_the_exact_answer(cents: int, other: int, op: str) -> None:
    """The gold is computed in floats, the answer exactly."""
    a, b = Fraction(cents, 100), Fraction(other, 100)
    exact = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[op]
    x, y = cents / 100, other / 100
    gold = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[op]
    short = Fraction(repr(gold)) == exact
    noisy = tolerance(repr(gold)) > 0
    assert agrees(exact, repr(gold)) or not (short or noisy)
    assert short or noisy or gold == round(gold, 9)


def test_truncated_is_unparsed_whatever_it_says() -> None:
    assert grade("#### 72", "72", truncated=True) is Verdict.INVALID
    assert grade("#### 72", "72", truncated=True, unparsed="incorrect") is Verdict.INCORRECT


@pytest.mark.parametrize(
    ("solution", "verdict"),
    [
        ("so\nAnswer: 72", "correct"),
        ("so\nAnswer:72", "correct"),
        ("answer: 72", "invalid"),
        ("The Answer: 72", "invalid"),
        ("#### 72", "invalid"),
        ("#### 71\nAnswer: 72", "correct"),
    ],
)
def test_another_marker(solution: str, verdict: str) -> None:
    assert grade(solution, "72", "Answer:") == verdict
    assert grade(solution, "72", marker="Answer: ") == verdict


def test_extract_answer_is_exact() -> None:
    assert extract_answer("#### 0.1") == Fraction(1, 10)
    assert extract_answer("0.1") is None


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="unparsed"):
        grade("#### 1", "1", unparsed="wrong")
    with pytest.raises(ValueError, match="marker"):
        extract_answer("#### 1", marker="  ")
    with pytest.raises(UserError, match="72 clips"):
        grade("#### 1", "72 clips")


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT)
def test_any_text_is_graded(text: str) -> None:
    assert grade(text, "72") in set(Verdict)
    assert grade(f"{text}\n#### 72", "72") in {Verdict.CORRECT, Verdict.INVALID}
    parse_number(text)


@settings(max_examples=200, deadline=None)
@given(st.fractions(max_denominator=10**6), st.integers(0, 12))
def test_decimals_round_trip(value: Fraction, places: int) -> None:
    scaled = round(value * 10**places)
    sign, digits = "-" * (scaled < 0), f"{abs(scaled):0{places + 1}d}"
    text = f"{sign}{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else f"{scaled}"
    assert parse_number(text) == Fraction(scaled, 10**places)
    assert grade(f"#### {text}", text) is Verdict.CORRECT


@pytest.mark.parametrize(("unit", "size"), HOSTILE)
def test_reading_an_answer_is_linear_in_the_text(unit: str, size: int) -> None:
    text = unit * (size // len(unit))
    began = time.process_time()
    extract_answer(text)
    parse_number(text)
    assert time.process_time() - began < 8  # under 1 on an idle core; quadratic work would take minutes


@needs_gsm8k
def test_gsm8k_golds_round_trip() -> None:
    answers = gsm8k_answers("train", "test")
    assert len(answers) == 8792
    for answer in answers:
        gold = answer.rpartition("#### ")[2]
        assert grade(answer, gold) is Verdict.CORRECT
        assert grade(answer, f"{parse_number(gold) + 1}") is Verdict.INCORRECT
