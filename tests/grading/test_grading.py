"""The grader and the step check: tables, fuzzing, and the real GSM8K where it is at hand."""

from __future__ import annotations

import json
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legibility.errors import UserError
from legibility.grading import Verdict, check_steps, extract_answer, grade, parse_number
from legibility.grading.answer import flexible_answer
from legibility.grading.arithmetic import MAX_NUMBER_CHARS
from tests.support import GSM8K


def found(text: str) -> list[tuple[str, bool]]:
    return [(step.text, step.valid) for step in check_steps(text)]


# --- Numbers ---


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
    ("text", "value"),
    [
        ("", None),
        ("no number", None),
        ("He has 5 apples, then 1,200 more.", 1200),
        ("so 48 - 5", 5),
        ("10-5", 5),
        ("it fell to -5 degrees", -5),
        ("it costs $3.50.", Fraction(7, 2)),
        ("she ate 3/4 of it", Fraction(3, 4)),
        ("#### 72 clips", 72),
        ("7, then " + "9" * 500, 7),
    ],
)
def test_flexible_answer(text: str, value: Fraction | None) -> None:
    assert flexible_answer(text) == value


# --- Verdicts ---


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


# --- Steps ---


HOLD = r"""
3 * 4 = 12 | 3*4=12 | 3 × 4 = 12 | 3 x 4 = 12 | 3x4=12 | 3 · 4 = 12 | 3 \times 4 = 12 | 12 ÷ 4 = 3 | 12/4=3
2 + 3 + 4 = 9 | 2 + 3 * 4 = 14 | 8 / 2 / 2 = 2 | 10 - 4 - 3 = 3 | 3+4 == 7 | 6 * 2 = 3 * 4
(2+3)*4=20 | 2*(3+(4-1)) = 12 | [2 + 3] * 4 = 20 | 2(3+4) = 14
0.5 * 3 = 1.5 | 100 x .1 = 10 | 3 * 4 = 12.00 | 1,200 + 300 = 1,500 | $5 + $6 = $11 | 3 * $2.50 = $7.50
3 - 5 = -2 | 3 – 5 = −2 | -3 + 5 = 2 | 3 * -4 = -12 | -(2+3) * 2 = -10 | 7 - -2 = 9 | 3*+6=18
50% * 20 = 10 | 20% of 50 = 10 | 1/2 of 10 + 3 = 8 | 1/4 * 100 = 25% | 50/200 = 25% | 100 - 20% = 80%
100% - 20% = 80% | 100% - 20% = 80 | 15/60 * 100% = 25% | 15/60 * 100% = 25
10 / 3 = 3.33 | 1/3 = 0.3 | 2/3 = .67 | 97/4 = 24.2 | 97/4 = 24.3 | 2/3 = 66.67% | 2/3=66.6...%
3 buckets * $25/bucket = $75 | 5-pound bags * 2 = 10
"""
FAIL = """
2 + 2 = 5 | 3 * 4 = 13 | 10 / 3 = 3 | 10 / 3 = 3.34 | 97/4 = 24.4 | 2 + 3 * 4 = 20 | (2+3)*4 = 14 | 1/3 = 1
5 - 3 = -2 | 50% * 20 = 1000 | $5 + $6 = $12 | 1,200 + 300 = 1,501 | 0.5 * 3 = 1.6 | 3.33 * 3 = 10
5 / 0 = 0 | 5 / 0 = 5 / 0 | 2 + 3 = 5 / 0 | 2/3 = 66.5...% | 3 + 4 = 7 + 1
"""
# No equation at all; algebra, powers and other unknowns; words that change a number, mixed numbers,
# conversions, remainders; unbalanced or overlong expressions.
PASSED_OVER = r"""
x = 5 | y=12 | 12 = 12 | -5 = -5 | 12 = 3 * 4 | 3 + 4 | = 7 | 3 + 4 = | 3 + = 7 | + 3 = 4
2x + 3 = 9 | 3 + x = 7 | x + 3 + 4 = 9 | 3 + 4 = 7 + x | 5A - 5 = 30 | 2(x + 1) = 9 | 2m+55=215 | x2 + 3 = 6
2^3 = 9 | 2**3 = 9 | 2 ** 3 = 9 | 5! + 1 = 7 | \frac{1}{2} + 1 = 2 | 10:30 + 2 = 13
half of 10 + 3 = 8 | 5 more than 2 + 2 = 9 | 5 plus 3 * 2 = 11 | some apples + 3 = 5 | 3 + twice 4 = 11
1 1/2 + 3 = 4.5 | 17/3 = 5 and 2/3 | 1 hour / 2 = 30 minutes | $1 - 20 cents = 80 cents
13 / 6 = 2 remainder 1 | 3 + 4 != 8 | 3 + 4 => 8 | 3 + 4 >= 8 | 3 + 4 ===== 8
60 / 3/4 = 80 | 3 + 4) = 8 | 2 * (3 + 4 = 8
"""


def table(text: str) -> list[str]:
    return [cell for line in text.strip().split("\n") for cell in line.split(" | ")]


@pytest.mark.parametrize("text", table(HOLD))
def test_equations_that_hold(text: str) -> None:
    assert [step.valid for step in check_steps(text)] == [True]


@pytest.mark.parametrize("text", table(FAIL))
def test_equations_that_fail(text: str) -> None:
    assert found(text) == [(text, False)]


def test_fields() -> None:
    (step,) = check_steps("So 2 apples + $3.50 = $5, he says.")
    assert (step.left, step.right, step.expected) == ("2 apples + $3.50", "$5", Fraction(11, 2))
    assert (step.start, step.end, step.valid) == (3, 24, False)
    assert check_steps("1 / 0 = 3")[0].expected is None


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        # GSM8K's marks: one step each, wherever they stand
        ("<<3*4=12>>", [("3*4=12", True)]),
        ("48/2 = <<48/2=24>>24 clips", [("48/2=24", True)]),
        ("it costs 12/60 = $<<12/60=0.2>>0.2.", [("12/60=0.2", True)]),
        ("half of that, <<48/2=24>>24", [("48/2=24", True)]),
        ("48/2 = <<48/2=25>>25", [("48/2=25", False)]),
        ("48/2 = <<48/2=24>>25 clips", [("48/2 = <<48/2=24>>25", False)]),
        ("50-8 = <<52-8=44>>44", [("50-8 = <<52-8=44>>44", False)]),
        ("3*4 = <<13=13>>13", [("3*4 = <<13=13>>13", False)]),
        ("100 - 50 = <<100-50=50>>50% left", [("100-50=50", True)]),
        ("3*4 = <<3*4=12>>12 = 6+6", [("3*4=12", True), ("12 = 6+6", True)]),
        ("5 + <<3*4=12>>12 = 17", [("5 + <<3*4=12>>12 = 17", True), ("3*4=12", True)]),
        ("<<2*3=6>> and <<2*4=9>>", [("2*3=6", True), ("2*4=9", False)]),
        ("<<3*4=12", [("3*4=12", True)]),
        ("<<12=12>> << >> <<x>> <<3*4=>>", []),
        # chains: each neighbouring pair
        ("3 * 4 = 12 + 1 = 13", [("3 * 4 = 12 + 1", False), ("12 + 1 = 13", True)]),
        ("3 * 4 = 12 = 13", [("3 * 4 = 12", True), ("12 = 13", False)]),
        ("3 * 60 = 180 minutes = 3 hours", [("3 * 60 = 180", True)]),
        # in prose
        ("5 apples + 3 apples = 8 apples", [("5 apples + 3 apples = 8", True)]),
        ("2 small baby spoons + 2 big ones = 4", [("2 small baby spoons + 2 big ones = 4", True)]),
        ("He has 3 apples and 4 + 5 = 9 pears", [("4 + 5 = 9", True)]),
        ("4 + 5 = 9, so 6 + 1 = 8 and 5+5=10", [("4 + 5 = 9", True), ("6 + 1 = 8", False), ("5+5=10", True)]),
        ("1. 4 + 5 = 9. 2. 6 + 1 = 7!", [("4 + 5 = 9", True), ("6 + 1 = 7", True)]),
        ("1) 4 + 5 = 9\n- 6 + 1 = 7\n* 2*2 = 4", [("4 + 5 = 9", True), ("6 + 1 = 7", True), ("2*2 = 4", True)]),
        ("Step 2: **4 + 5 = 9**", [("4 + 5 = 9", True)]),
        ("(in all 4 + 5 = 9)", [("4 + 5 = 9", True)]),
        (r"\( 3 \times 4 = 12 \)", [(r"3 \times 4 = 12", True)]),
        ("4 + 5 = 9 - so he has 9", [("4 + 5 = 9", True)]),
        ("2*4 = 8 (4 + 4)", [("2*4 = 8", True)]),
        ("X = 9 because 18/2 = 9", [("18/2 = 9", True)]),
        ("total = 4 + 5 = 9", [("4 + 5 = 9", True)]),
    ],
)
def test_steps_in_text(text: str, steps: list[tuple[str, bool]]) -> None:
    assert found(text) == steps
    assert all(text[step.start : step.end] == step.text for step in check_steps(text))


@pytest.mark.parametrize("text", [*table(PASSED_OVER), "", "3 + 4 =\n8", "1" * 61 + " + 1 = 2", "1+" * 40 + "1 = 3"])
def test_passed_over(text: str) -> None:
    assert check_steps(text) == []


# --- Any text ---

ARITHMETIC = st.text(alphabet="0123456789.,+-*/x×÷−=()<>$% \naбof#:^\\½", max_size=80)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), ARITHMETIC))
def test_any_text_is_read(text: str) -> None:
    assert grade(text, "72") in set(Verdict)
    assert grade(f"{text}\n#### 72", "72") in {Verdict.CORRECT, Verdict.INVALID}
    flexible_answer(text)
    parse_number(text)
    steps = check_steps(text)
    assert all(text[step.start : step.end] == step.text for step in steps)
    assert [step.start for step in steps] == sorted(step.start for step in steps)


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**6), 10**6), st.sampled_from("+-*/"), st.integers(-(10**4), 10**4), st.integers(1, 50))
def test_integer_equations(a: int, op: str, b: int, error: int) -> None:
    b = b or 1
    if op == "/":
        a *= b  # so that the quotient is whole
    c = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[op]
    for spaced in (f"{a} {op} {b} = ", f"{a:,}{op}{b:,}="):
        assert [step.valid for step in check_steps(f"so {spaced}{c}.")] == [True]
        assert [step.valid for step in check_steps(f"so {spaced}{c + error} left")] == [False]


@settings(max_examples=200, deadline=None)
@given(st.fractions(max_denominator=10**6), st.integers(0, 12))
def test_decimals_round_trip(value: Fraction, places: int) -> None:
    scaled = round(value * 10**places)
    sign, digits = "-" * (scaled < 0), f"{abs(scaled):0{places + 1}d}"
    text = f"{sign}{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else f"{scaled}"
    assert parse_number(text) == Fraction(scaled, 10**places)
    assert grade(f"#### {text}", text) is Verdict.CORRECT


HOSTILE = ["(", "1+", "=", "9", "1/", "<<"]
HOSTILE_TOO = ["<<1", "1+1=", "((1", "1,000,", "x   ", "- ", "**", "\\", "$", "a/", "1 a + ", "(a ", "1 of ", "1..."]
HOSTILE_TOO += ["1+(", "#### 5\n", "<<" + "a" * 190, "é'", "1 = 2 ", "((((1+a "]


@pytest.mark.parametrize(
    ("unit", "size"), [(unit, 200_000) for unit in HOSTILE] + [(unit, 40_000) for unit in HOSTILE_TOO]
)
def test_work_is_linear_in_the_text(unit: str, size: int) -> None:
    text = unit * (size // len(unit))
    began = time.process_time()
    check_steps(text)
    check_steps("(" * 10_000 + "1+" + text[:10_000])
    extract_answer(text)
    flexible_answer(text)
    parse_number(text)
    assert time.process_time() - began < 8  # under 1 on an idle core; quadratic work would take minutes


# --- GSM8K (never copied into the repository) ---

needs_gsm8k = pytest.mark.skipif(not (GSM8K / "test.jsonl").is_file(), reason="GSM8K is not here (LEGIBILITY_GSM8K)")


def gsm8k_answers(*splits: str) -> list[str]:
    lines = [line for split in splits for line in (GSM8K / f"{split}.jsonl").open(encoding="utf-8")]
    return [json.loads(line)["answer"] for line in lines]


@needs_gsm8k
def test_gsm8k_golds_round_trip() -> None:
    answers = gsm8k_answers("train", "test")
    assert len(answers) == 8792
    for answer in answers:
        gold = answer.rpartition("#### ")[2]
        assert grade(answer, gold) is Verdict.CORRECT
        assert flexible_answer(answer) == extract_answer(answer)
        assert grade(answer, f"{parse_number(gold) + 1}") is Verdict.INCORRECT


@needs_gsm8k
def test_gsm8k_marks_hold() -> None:
    """Marks were filled in by a calculator, so nearly every failure would be the parser's own."""
    held = marks = 0
    for answer in gsm8k_answers("test"):
        steps = [step for step in check_steps(answer) if step.valid]
        for match in re.finditer(r"<<([^<>]*[0-9)][-+*/][^<>]*)=[^<>]*>>", answer):
            marks += 1
            held += any(match.start() < step.start and step.end < match.end() for step in steps)
    assert marks > 4000
    assert held / marks > 0.999
