"""What a study can be made of, and which conditions are asked for."""

from __future__ import annotations

import gzip
import json

import pytest

from legibility.errors import UserError
from legibility.game.condition import HELD_OUT_JUDGE, Condition, verifier
from legibility.judging.candidates import COLUMNS, candidates_of, chosen_conditions, first_wrong_line
from legibility.problems.records import Problem


def test_conditions_are_checked(candidates):
    assert chosen_conditions(candidates, ["game:1:helpful"]) == [Condition("game", 1, "helpful")]
    for bad in (["game:9:helpful"], ["game"], ["game:0:helpful", "game:0:helpful"]):
        with pytest.raises(UserError):
            chosen_conditions(candidates, bad)


def test_candidates_of_a_run_are_its_readable_texts(tiny_run):
    found = candidates_of(tiny_run.path, 0)
    assert found.origin == tiny_run.path.resolve() and found.run == tiny_run.path.name
    assert list(found.frame.columns) == COLUMNS
    arms = {condition.arm for condition in found.conditions}
    assert arms == {"init", "game", "correctness"} and found.conditions == sorted(found.conditions)
    assert sum(len(found.rows(condition)) for condition in found.conditions) == len(found.frame)
    assert found.frame.first_wrong_line[found.frame.correct].isna().all()
    few = found.frame.iloc[:3]
    assert [set(scores) for scores in found.score(few)] == [{verifier(0), verifier(1), HELD_OUT_JUDGE}] * 3


def test_candidates_of_a_problem_file_are_solutions_and_their_twins(tmp_path):
    path = tmp_path / "few.jsonl"
    records = [
        {
            "question": f"Tom has {a} pens and gets {a + 7} more.",
            "answer": str(2 * a + 7),
            "solution": f"{a} + {a + 7} = {2 * a + 7}\n#### {2 * a + 7}",
        }
        for a in (11, 23)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    found = candidates_of(path, 0)
    assert found.conditions == [Condition("reference", 0, "reference")] and found.origin is None
    assert found.frame.groupby("problem_id").correct.sum().tolist() == [1, 1]
    assert found.frame.first_wrong_line[~found.frame.correct].tolist() == [1, 1]
    assert found.score(found.frame) == [{}] * 4


def test_the_first_wrong_line_is_the_first_step_that_does_not_hold():
    problem = Problem("p", "Tom has 3 pens and gets 4. Then he gets 5.", "12")
    assert first_wrong_line(problem, "3 + 4 = 7\n7 + 5 = 13\n#### 13") == 2
    assert first_wrong_line(problem, "3 + 4 = 7\n7 + 5 = 12\n#### 12") is None


@pytest.mark.parametrize("name", ["few.json", "few.jsonl.gz", "few.csv"])
def test_problem_files_of_other_formats(tmp_path, name):
    row = {"question": "Tom has 11 pens and gets 18 more.", "answer": "29", "solution": "11 + 18 = 29\n#### 29"}
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(json.dumps(row).encode()))
    elif name.endswith(".json"):
        path.write_text(json.dumps([row], indent=2))
    else:
        path.write_text('question,answer,solution\n{question},{answer},"{solution}"\n'.format(**row))
    assert len(candidates_of(path, 0).frame) == 2
    path.write_bytes(b"\xff\xff")
    with pytest.raises(UserError, match=name):
        candidates_of(path, 0)
