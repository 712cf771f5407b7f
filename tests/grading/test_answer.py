"""Reading a number, the answer line and the verdict: tables, fuzzing, and the real GSM8K where it is at hand."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.grading import Verdict, extract_answer, grade, parse_number
from legibility.grading.expressions import MAX_NUMBER_CHARS
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
        ("9" * MAX_NUMBER_CHARS, 10**MAX_NUMBER_CHARS - 1),
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
        "1e3",
        "1,20",
        "1,2345",
        "12,34,567",
        "3/0",
        "1/2/3",
        "1.5/2",
        *("--5", "-$-5", "5..", "1 000", "1_000", "0x10", "inf", "nan", "٣", "²", "½", "(5)", "**5**", "7\n2"),
        *("72 or 73", "#### 72", "9" * (MAX_NUMBER_CHARS + 1), "9" * 100_000, "1/" * 100_000),
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
