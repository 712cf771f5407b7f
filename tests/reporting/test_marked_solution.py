"""A solution cut into marked lines."""

from __future__ import annotations

import numpy as np

from legibility.reporting.marked_solution import printable, show
from tests.reporting.pages import PROBLEM


def test_lines_are_marked_with_reasons() -> None:
    shown = show(PROBLEM, "First, 5 + 3 = 9 pens.\n9 * 2 = 18, so 7 - 1 = 6\n#### 18", "incorrect")
    assert [line.mark for line in shown.lines] == ["✗", "✗", ""]
    assert [line.reason for line in shown.lines] == [
        "arithmetic does not hold",
        "carries an earlier mistake; not a step of this problem",
        "",
    ]
    assert [(p.text, p.status) for p in shown.lines[0].pieces][:2] == [("First, ", ""), ("5 + 3 = 9", "slip")]
    assert (
        "".join(p.text for line in shown.lines for p in line.pieces)
        == "First, 5 + 3 = 9 pens.9 * 2 = 18, so 7 - 1 = 6#### 18"
    )
    assert show(PROBLEM, "5 + 3 = 8\n#### 8", "incorrect").note == "leaves out 8 * 2 = 16"
    assert "nothing to check" in show(PROBLEM, "8 16\n#### 16", "correct").note
    assert [line.mark for line in show(PROBLEM, "(5 + 3) * 2 = 8 * 2 = 16\n#### 16", "correct").lines] == ["✓", ""]
    assert show(PROBLEM, "", "invalid").lines[0].mark == ""


def test_percentile_counts_ties_half() -> None:
    assert show(PROBLEM, "x", "correct", 2.0, np.array([1.0, 2.0, 2.0, 3.0])).percentile == 0.5
    assert show(PROBLEM, "x", "correct", float("nan"), np.array([1.0])).score is None


def test_control_and_direction_characters_are_made_visible() -> None:
    assert printable("a\tb\nc\x00\x1b[1m\u200b\u202eé") == "a\tb\nc��[1m��é"
