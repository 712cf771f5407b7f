"""Item ids that some program took for numbers, and times."""

from __future__ import annotations

import re

import pytest

from legibility.judging.export import _blind
from legibility.judging.tool_rows import RowMaker, item_written_as_number
from tests.judging.world import made_up_candidates


@pytest.mark.parametrize(
    "written, found",
    [
        ("123456789012", "000123456789012"[3:]),
        ("789012", "000000789012"),
        ("789012.0", "000000789012"),
        ("1.23457E+11", "123456789012"),
        ("1,23457E+11", "123456789012"),
        ("1.2E+41", "12000000e034"),
        ("inf", "1e5123456789"),
        ("9.9E+10", None),
        ("abcdef012345x", None),
        ("nan", None),
        ("-789012", None),
    ],
)
def test_an_old_id_that_came_back_as_a_number_is_found(written, found):
    ids = ["123456789012", "000000789012", "12000000e034", "1e5123456789", "abcdef012345"]
    assert item_written_as_number(written, ids) == found


def test_a_number_that_could_be_two_items_is_neither():
    assert item_written_as_number("1.23457E+11", ["123456789012", "123456789013"]) is None
    assert item_written_as_number("inf", ["1e5123456789", "9e9999999999"]) is None


def test_no_new_id_is_a_number_anywhere():
    """Exponents, hexadecimal, months, signs: a letter in front that none of them begins with."""
    import numpy as np

    candidates = made_up_candidates(100)
    entries, items = _blind(candidates, candidates.frame[:2000], [], np.random.default_rng(0))
    assert len({i.item_id for i in items}) == len(items) == 2000
    assert all(re.fullmatch(r"q[0-9a-f]{12}", i.item_id) for i in items)
    assert {e.item_id for e in entries} == {i.item_id for i in items}


def test_a_name_written_in_two_ways_is_one_rater(big):
    """A Mac writes the é of a file's name as two characters, a keyboard as one."""
    maker = RowMaker(big, "csv", None)
    made = [
        row.rater
        for item, who in zip(big.items, ("Ren\u00e9", "Rene\u0301"), strict=False)
        for _, row in maker.rows("line", {"item_id": item, "answer": "True"}, who)
    ]
    assert made == ["csv:Ren\u00e9"] * 2
