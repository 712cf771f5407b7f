"""Written arithmetic: its tokens, its exact value, and what rounding on paper leaves open."""

from __future__ import annotations

from fractions import Fraction

import pytest

from legibility.grading.expressions import MAX_NUMBER_CHARS, Token, evaluate, slack, tokenize

PERCENT = Fraction(1, 100)


def read(text: str) -> list[Token]:
    """The tokens of an expression, without the stop at its end."""
    return list(tokenize(text, 0, len(text)))[:-1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 3 - 2", 5),
        ("12 / 4 / 3", 1),
        ("1 / 3", Fraction(1, 3)),
        ("1,200 × 2", 2400),
        ("7 ÷ 2", Fraction(7, 2)),
        ("50% * 20", 10),
        ("0.1 + 0.2", Fraction(3, 10)),
    ],
)
def test_the_value_is_exact(text, value):
    assert evaluate(read(text), PERCENT) == value


@pytest.mark.parametrize("text", ["2 +", "* 3", "(2 + 3", "2 3", "9" * (MAX_NUMBER_CHARS + 1)])
def test_what_is_no_expression_is_an_error(text):
    with pytest.raises(ValueError, match=r"missing|closed|more than one|too long"):
        evaluate(read(text), PERCENT)


def test_division_by_zero_is_left_to_the_caller():
    with pytest.raises(ZeroDivisionError):
        evaluate(read("1 / (2 - 2)"), PERCENT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.33", Fraction(1, 200)),
        ("0.33...", Fraction(1, 100)),
        ("33", 0),
        ("1.5 + 2", 0),
        ("12.5%", Fraction(1, 2000)),
    ],
)
def test_a_number_with_decimals_may_be_rounded_and_one_without_may_not(text, expected):
    assert slack(read(text), PERCENT) == expected


def test_a_token_knows_its_place_and_the_white_space_before_it():
    assert read("2 x 3") == [
        Token("num", "2", 0, 1, False, True), Token("op", "*", 2, 3, True, False), Token("num", "3", 4, 5, True, False)
    ]  # fmt: skip
