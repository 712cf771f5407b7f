"""Which tokens are the solution, and what is left out of a long text, by hand."""

from __future__ import annotations

import pytest

from legibility.models.verifier_text import EncodedText, covered, filled, shortened

WORDS = [(0, 3), (4, 7), (8, 11), (12, 15)]  # four words of three characters


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((4, 11), range(1, 4)),  # two words and the one that ends them
        ((4, 15), range(1, 4)),  # nothing comes after
        ((5, 6), range(1, 3)),  # inside a word: that word counts
        ((2, 5), range(0, 3)),  # a token across the border counts
        ((8, 8), range(2, 3)),  # an empty solution has the token that ends it
        ((15, 15), range(4, 4)),  # unless nothing comes after
    ],
)
def test_the_solutions_tokens_and_the_one_after(span, expected):
    assert covered(WORDS, span) == expected


def test_special_tokens_without_characters_are_no_part_of_a_solution():
    assert covered([(0, 0), *WORDS, (0, 0)], (4, 15)) == range(2, 6)  # the last one ends it
    assert covered([(0, 0), (0, 3)], (0, 3)) == range(1, 2)


def test_the_middle_is_left_out_and_the_solution_moves_along():
    text = EncodedText(range(20), range(12, 20))
    short = shortened(text, 12)
    assert list(short) == [0, 1, 2, *range(11, 20)] and [short[k] for k in short.solution] == list(range(12, 20))


def test_a_solution_that_loses_its_beginning_keeps_its_end():
    short = shortened(EncodedText(range(20), range(5, 20)), 8)
    assert list(short) == [0, 1, *range(14, 20)] and [short[k] for k in short.solution] == list(range(14, 20))


def test_the_first_token_of_a_text_is_not_predicted():
    assert EncodedText(range(4), range(0, 4)).predicted == range(1, 4)


def test_a_problem_may_hold_the_words_of_the_template():
    assert filled("{problem}|{solution}", "a {solution}?", "b {problem}") == "a {solution}?|b {problem}"
