"""What a multiple-choice label means: the reading is the right one or an error, never a shift by one."""

from __future__ import annotations

from typing import Any

import pytest

from legibility.errors import UserError
from legibility.weak_to_strong.choice_labels import ChoiceRow, right_choices

NUMERALS = ["0", "1", "3", "4"]
WORDS = ["red", "blue", "green", "grey"]


def found(labels: list[Any], options: list[str], label_is: Any = None, columns: tuple[str, ...] = ()) -> list[int]:
    rows = [ChoiceRow(f"q.jsonl line {k}", label, options, list(columns)) for k, label in enumerate(labels, start=1)]
    return right_choices(rows, "answer", label_is)


@pytest.mark.parametrize(
    ("labels", "options", "right"),
    [
        ([2, 3, 0], NUMERALS, [2, 3, 0]),  # 3 is the fourth choice, not the one that reads "3"
        ([2.0, 3.0, 0.0], NUMERALS, [2, 3, 0]),  # a table with gaps makes floats of whole numbers
        ([0, 1, 2, 3], WORDS, [0, 1, 2, 3]),
        ([1, 4, 2], WORDS, [0, 3, 1]),  # 4 of four choices counts from 1
        (["1", "4", "2"], WORDS, [0, 3, 1]),
        (["0", "2"], WORDS, [0, 2]),
        (["A", "D", "blue", "4", "1"], WORDS, [0, 3, 1, 3, 0]),
        (["red", " green "], WORDS, [0, 2]),
        (["7"], ["5", "7", "11"], [1]),
        ([True], ["True", "False"], [0]),
        ([0.5], ["0.25", "0.5"], [1]),
    ],
)
def test_labels_that_have_one_meaning(labels, options, right):
    assert found(labels, options) == right


def test_columns_name_their_choice():
    assert found(["b", "a"], WORDS[:2], columns=("a", "b")) == [1, 0]


@pytest.mark.parametrize(
    ("labels", "options", "line"),
    [
        ([1, 2, 3], WORDS, 1),  # neither 0 nor 4: from 0 or from 1?
        (["3"], NUMERALS, 1),  # the text of choice 3, or the index of choice 4
        (["red", "A"], ["B", "A", "red"], 2),  # the text of choice 2, or the letter of choice 1
        ([0, 3, 1], ["3", "0", "1", "2"], 1),  # every number is the text of another choice too
    ],
)
def test_labels_with_two_meanings_are_an_error_that_names_the_setting(labels, options, line):
    with pytest.raises(UserError, match=rf"q.jsonl line {line}: column 'answer' holds .*task\.label_is") as error:
        found(labels, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("label_is", "labels", "options", "right"),
    [
        ("index", [1, 2, 3], WORDS, [1, 2, 3]),
        ("number", [1, 2, 3], WORDS, [0, 1, 2]),
        ("number", ["3"], NUMERALS, [2]),
        ("text", ["3", 0], NUMERALS, [2, 0]),
        ("letter", ["A"], ["B", "A"], [0]),
    ],
)
def test_the_setting_says_which(label_is, labels, options, right):
    assert found(labels, options, label_is) == right


@pytest.mark.parametrize(
    ("labels", "label_is", "message"),
    [
        ([0, 4], None, "line 1 holds 0: counted neither from 0 nor from 1"),
        ([0, 7], None, "line 2: .*no choice, column, letter or number of 4 choices"),
        ([-1], None, "no choice, column, letter or number"),
        (["purple"], None, "no choice"),
        ([4], "index", "no index of 4 choices"),
        ([0], "number", "no number of 4 choices"),
        (["1" * 5000], None, "no choice"),
    ],
)
def test_labels_that_mean_no_choice(labels, label_is, message):
    with pytest.raises(UserError, match=message):
        found(labels, WORDS, label_is)
