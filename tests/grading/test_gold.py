"""Golds as data sets write them: units are left out, words that change the number are refused."""

from __future__ import annotations

import time

import pytest

from legibility.grading import parse_number, read_gold
from legibility.grading.answer import MAX_ANSWER_CHARS


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("9", "9"),
        (" 1,200 ", "1,200"),
        ("9 apples", "9"),
        ("9 apples.", "9"),
        ("9 (apples)", "9"),
        ("9(apples)", "9"),
        ("$9.00", "$9.00"),
        ("$9.00 per hour", "$9.00"),
        ("$ 9 (dollars)", "$ 9"),
        ("9%", "9%"),
        ("9 % of them", "9 %"),
        ("-3 degrees", "-3"),
        ("3/4 cup", "3/4"),
        ("60 km/h", "60"),
        ("60km", "60"),
        ("12 square feet", "12"),
        ("5.0", "5.0"),
        ("2.0107e-06", "2.0107e-06"),
    ],
)
def test_a_number_and_its_unit(text: str, gold: str) -> None:
    assert read_gold(text) == gold
    assert parse_number(gold) is not None


@pytest.mark.parametrize(
    "text",
    [
        *("", "apples", "a dozen", "9 dozen", "9 million dollars", "9k", "2nd", "9 and a half", "9 or ten", "9 to ten"),
        *(
            "9 apples, 3 pears",
            "9 hours 30 minutes",
            "7 r5",
            "9 (r 2)",
            "x = 9",
            "9 = x",
            "10:30",
            "9 (3)",
            "9x",
            "9 x",
        ),
        *("9 (apples) left", "9\napples", "1e3 apples", "nan", "inf", "9 squared", "9 times more", "9 " + "a" * 100),
        *("9" * (MAX_ANSWER_CHARS + 1), "9 hundred", "9 point five", "9.5.1 apples"),
        *("9 lakh", "9 crore rupees", "9 sevenths", "3 sixteenths of an inch", "9 degrees below zero", "9 (negative)"),
    ],
)
def test_what_would_be_guessed_is_refused(text: str) -> None:
    assert read_gold(text) is None


@pytest.mark.parametrize("unit", ["9", "9 ", "a", "9 a", "(", "9(", "$", ",", ".", "-", "9,999", " ", "e9"])
def test_long_text_is_read_in_no_time(unit: str) -> None:
    for size in (MAX_ANSWER_CHARS, 1_000_000):
        start = time.process_time()
        read_gold(unit * (size // len(unit)))
        assert time.process_time() - start < 1
