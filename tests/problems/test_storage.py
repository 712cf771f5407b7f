"""A run's problems come back from their file as they were."""

from __future__ import annotations

import pytest

from legibility.problems import ProblemSplits
from legibility.problems.records import Problem, Step
from legibility.problems.storage import read_problems, read_splits, write_problems


@pytest.mark.parametrize(
    "text", ["plain", "two\nlines", "a\u2028b\u2029c\x85d\x0be", 'tab\t"quote" \\ 漢字 \U0001f600']
)
def test_problems_survive_their_file(tmp_path, text):
    """Also with characters that some readers take for line ends."""
    problem = Problem(
        "p", text, "1,200", solution=text, source="s", family="f", steps=(Step(2, "*", 3, 6), Step(6, "-", 1, 5))
    )
    third = Problem("r", "third", "3")
    splits = ProblemSplits([problem], [], [], [Problem("q", "other", "2")], judge=[third])
    write_problems(tmp_path / "problems.jsonl", splits)
    assert read_problems(tmp_path / "problems.jsonl") == {"p": problem, "q": Problem("q", "other", "2"), "r": third}
    assert read_splits(tmp_path / "problems.jsonl") == splits
