"""A run's problems come back from their file as they were."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
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


GOOD = '{"split": "test", "id": "p", "question": "Q?", "answer": "7", "solution": "", "source": "", "family": "", "steps": ["3 + 4 = 7"]}'


@pytest.mark.parametrize(
    "line",
    [
        GOOD[:-20],
        "3",
        '"text"',
        "null",
        "[]",
        "[" * 100_000,
        GOOD.replace('"7"', "7"),
        GOOD.replace('"7"', "[7]"),
        GOOD.replace('"test"', '"train"'),
        GOOD.replace('"test"', '["test"]'),
        GOOD.replace('"3 + 4 = 7"', "3"),
        GOOD.replace('"3 + 4 = 7"', '"3 ? 4 = 7"'),
        GOOD.replace('"3 + 4 = 7"', '"3 + 4"'),
        GOOD.replace('["3 + 4 = 7"]', "null"),
        GOOD.replace('"family"', '"kind"'),
        GOOD.replace('"answer": "7", ', ""),
        GOOD.replace('"7"', "9" * 5000),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "problems.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(UserError, match=r"problems.jsonl line 2: cannot be read \(.+\); restore the file") as caught:
        read_problems(path)
    assert "\n" not in str(caught.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"problems.jsonl: cannot be read"):
        read_problems(path)
