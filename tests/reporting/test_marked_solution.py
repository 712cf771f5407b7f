"""A solution cut into marked lines."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.evaluation.doubts import Doubt, TokenDoubt
from legibility.reporting import marked_solution
from legibility.reporting.marked_solution import doubt_line, printable, show
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


def test_each_step_is_looked_at_once(monkeypatch) -> None:
    """Steps times lines would be too many for a long solution."""
    looked_at = []
    line = marked_solution._line
    monkeypatch.setattr(
        marked_solution, "_line", lambda text, start, steps: looked_at.append(len(steps)) or line(text, start, steps)
    )
    shown = show(PROBLEM, "\n".join(["5 + 3 = 8", "", "and 8 * 2 = 16, 7 - 1 = 6"] * 100), "incorrect")
    assert [found.mark for found in shown.lines] == ["✓", "", "✗"] * 100
    assert sum(looked_at) == 300


def test_percentile_counts_ties_half() -> None:
    assert show(PROBLEM, "x", "correct", 2.0, np.array([1.0, 2.0, 2.0, 3.0])).percentile == 0.5
    assert show(PROBLEM, "x", "correct", float("nan"), np.array([1.0])).score is None


def test_control_and_direction_characters_are_made_visible() -> None:
    assert printable("a\tb\nc\x00\x1b[1m\u200b\u202eé") == "a\tb\nc��[1m��é"


def doubt_of(text: str, shares: list[tuple[int, int, float]]) -> Doubt:
    tokens = [TokenDoubt(start=a, end=b, share=share) for a, b, share in shares]
    score = sum(share for *_, share in shares)
    return Doubt(round=2, role="sneaky", problem_id="p", text=text, score=score, rest=0.0, tokens=tokens)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([(0, 1, -0.2), (2, 3, -1.5)], "verifier 2 doubts “4” in line 2 most: it takes 1.50 off, which leaves -1.70"),
        ([(0, 1, -2.0), (2, 3, 0.1)], "verifier 2 doubts “3” in line 1 most: it takes 2.00 off, which leaves -1.90"),
        ([(0, 1, -0.1), (3, 3, -2.0)], "verifier 2 doubts the end most: it takes 2.00 off, which leaves -2.10"),
        ([(0, 1, 0.2), (2, 3, 0.0)], ""),
        ([], ""),
    ],
)
def test_the_doubt_is_the_lowest_share(shares, expected) -> None:
    assert doubt_line(doubt_of("3\n4", shares), "verifier 2") == expected
    assert doubt_line(None, "verifier 2") == ""


def test_doubted_tokens_are_marked_across_steps_and_lines() -> None:
    """Against the worst of the text; less than a fifth of it is left plain, and so is what raises the score."""
    text = "So 5 + 3 = 9\n#### 9"
    shares = [(0, 2, 1.0), (2, 10, -0.5), (10, 12, -2.0), (12, 17, -0.3), (17, 19, -1.0)]
    shown = show(PROBLEM, text, "incorrect", doubt=doubt_of(text, shares))
    marked = [[(p.text, p.status, p.doubt) for p in line.pieces] for line in shown.lines]
    assert marked == [
        [("So", "", 0.0), (" ", "", 0.25), ("5 + 3 =", "slip", 0.25), (" 9", "slip", 1.0)],
        [("####", "", 0.0), (" 9", "", 0.5)],
    ]
    assert shown.doubt == "the verifier doubts “9” in line 1 most: it takes 2.00 off, which leaves -2.80"
    plain = show(PROBLEM, text, "incorrect")
    assert all(p.doubt == 0 for line in plain.lines for p in line.pieces) and plain.doubt == ""
