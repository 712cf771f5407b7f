"""What equations lead to: cases worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from legibility.grading.derivation import Derivation, derivation, numbers


@pytest.mark.parametrize(
    ("text", "result", "steps", "used"),
    [
        ("26 - 8 = 18\n18 * 2 = 36", 36, 2, 2),
        ("7 * 2 = 14\n5 * 7 = 35\n14 + 35 = 49", 49, 3, 3),
        ("7 * 2 = 14\n30 + 35 = 65", 65, 2, 1),  # a jump: the first step leads nowhere
        ("3 * 3 = 11\n35 - 11 = 24", None, 2, 2),  # it holds, what it rests on does not
        ("3 * 3 = 11\n35 - 12 = 23", 23, 2, 1),  # a slip it does not rest on
        ("25 - 5 = 21", None, 1, 1),
        ("18 * 3 = 54\n18 * 3 = 54\n54 + 22 = 76", 76, 3, 2),  # the latest of two alike
        ("2 * (3 + 1) = 2 * 4 = 8", 8, 2, 2),
        ("She sold 48/2 = <<48/2=24>>24 in May. 48 + 24 = <<48+24=72>>72 in all.", 72, 2, 2),
        ("100 / 3 = 33.33\n33.33 * 2 = 66.66", Fraction(6666, 100), 2, 2),
        ("$1,200 / 4 = $300\n300 - 50% * 100 = 250", 250, 2, 2),
        ("26 12 4", None, 0, 0),
        ("", None, 0, 0),
    ],
)
def test_a_result_is_traced_back(text, result, steps, used):
    assert derivation(text) == Derivation(None if result is None else Fraction(result), steps, used)


def test_numbers_of_a_text():
    assert numbers("Tom has $1,200 and .5 of 3/4, not -2.") == [1200, Fraction(1, 2), 3, 4, 2]


def test_a_long_text_takes_no_time():
    text = "\n".join(f"{k} + 1 = {k + 1}" for k in range(20_000))
    assert derivation(text) == Derivation(Fraction(20_000), 20_000, 20_000)
