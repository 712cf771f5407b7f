"""Untrusted text on a terminal: shown, never obeyed."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from legibility.printable import printable


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain, ünïcode, 数, 🙂", "plain, ünïcode, 数, 🙂"),
        ("👩\u200d🔬 and \u200c", "👩\u200d🔬 and \u200c"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # the one-character form of ESC [
        ("two\r\nlines\tand\u2028a third", "two\\r\\nlines\\tand\\u2028a third"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("file-\udc80", "file-\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        (7, "7"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown  # nothing left to write out


def test_no_character_gets_through_that_moves_anything():
    every = printable("".join(map(chr, range(sys.maxunicode + 1))))
    left = {c for c in every if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert left == {"\u200c", "\u200d"}
    every.encode("utf-8")
