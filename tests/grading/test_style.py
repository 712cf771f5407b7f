"""Style: counts, and nothing that has to be read."""

from __future__ import annotations

import pytest

from legibility.grading.style import Style, style_of


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("", Style(0, 0, 0)),
        ("#### 12", Style(1, 0, 1)),
        ("12 24 48\n#### 48", Style(2, 0, 4)),
        ("3 + 4 = 7\n\n  \n7 * 2 = 14\n#### 14", Style(3, 2, 7)),
        ("48/2 = <<48/2=24>>24 for $1,000.50", Style(1, 2, 7)),
    ],
)
def test_style_by_hand(text, style):
    assert style_of(text) == style


def test_values_operators_and_words_are_not_style():
    assert style_of("3 + 4 = 7\n#### 7") == style_of("Tom: 30 * 45 = 1,350\n#### 9.5")
