"""A run begun by an earlier version keeps its problems; one whose source changed is refused."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from legibility.problems import ProblemSettings, load_problems
from legibility.problems.earlier import as_begun
from legibility.problems.generator import PRETRAIN_FAMILIES
from legibility.problems.sources import GeneratedSource
from legibility.problems.storage import problem_lines

NOW = ProblemSettings(
    train=GeneratedSource(count=2000, families=list(PRETRAIN_FAMILIES)),
    test=GeneratedSource(count=200, seed=1),
    prover=300,
    verifier=200,
    validation=50,
    test_size=100,
)


def settings(read: bool, judge: int | None) -> ProblemSettings:
    sources = {
        "train": NOW.train.model_copy(update={"leave_out_read": not read}),
        "test": NOW.test.model_copy(update={"leave_out_read": not read}),
    }
    return NOW.model_copy(update={**sources, "judge": judge})


@pytest.mark.parametrize(("read", "judge"), [(False, None), (True, None), (True, 0), (False, 0)])
def test_the_problems_are_those_the_run_began_with(tmp_path, read, judge):
    stored = tmp_path / "problems.jsonl"
    stored.write_text(problem_lines(load_problems(settings(read, judge))))
    splits = as_begun(stored, NOW, load_problems(NOW))
    assert problem_lines(splits) == stored.read_text()
    assert (splits.report.pretraining.left_out == 0) == read and bool(splits.judge) == (judge is None)


def test_other_problems_are_refused(tmp_path):
    stored = tmp_path / "problems.jsonl"
    stored.write_text(problem_lines(load_problems(NOW.model_copy(update={"seed": 1}))))
    with pytest.raises(UserError, match="the problems changed since the run began"):
        as_begun(stored, NOW, load_problems(NOW))
