"""A run opened for evaluation: thresholds, pools, and what may not be scored."""

from __future__ import annotations

import re

import pytest

from legibility.errors import UserError
from legibility.evaluation.run import EvaluationRun
from legibility.game.condition import verifier
from legibility.game.solutions import round_solutions
from legibility.problems.storage import read_splits
from tests.evaluation.helpers import SMALL, section
from tests.support import ROOT


def test_a_verifier_is_not_evaluated_on_its_training_problems(tiny_run, copied):
    learnt = round_solutions(tiny_run, 0)
    learnt = learnt[learnt.split == "verifier"].head(3)
    with pytest.raises(UserError, match="were trained on"):
        EvaluationRun(copied.path).scores(verifier(1), learnt)


def test_thresholds_take_the_wanted_share_of_round_0_validation_text(evaluated):
    run = EvaluationRun(evaluated.path, ["evaluation.recall=0.7"])
    frame = round_solutions(evaluated, 0)
    frame = frame[
        (frame.split == "validation")
        & (frame.role == "helpful")
        & (frame.verdict == "correct")
        & (frame.phase == "collection")
    ]
    for judge in run.judges:
        accepted = run.scores(judge, frame) >= run.threshold(judge)
        assert accepted.mean() >= 0.7 >= (run.scores(judge, frame) > run.threshold(judge)).mean()


def test_best_of_n_pools_are_helpful_text_of_test_problems(evaluated):
    run = EvaluationRun(evaluated.path, SMALL)
    pool = run.pool(1)
    assert len(pool) == 24 and set(pool.role) == {"helpful"} and set(pool.phase) == {"pool"}
    assert set(pool.problem_id) == {p.id for p in read_splits(evaluated.path / "problems.jsonl").test[:6]}
    rows = {(r["round"], r["n"]): r for r in section(evaluated, "best_of_n")}
    correct = pool[pool.verdict == "correct"].groupby("problem_id").size()
    wrong = pool[pool.verdict == "incorrect"].groupby("problem_id").size()
    assert rows[1, 4]["problems"] == sum(min(correct.get(p, 0), wrong.get(p, 0)) >= 2 for p in set(pool.problem_id))


def test_a_quick_evaluation_draws_the_pools_of_the_results_page_when_they_are_named(copied, monkeypatch):
    """docs/claims.md was decided with whole pools under --quick; docs/results.md says how to have them again."""
    monkeypatch.setattr("legibility.evaluation.run.QUICK_POOL", (5, 4))
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    named = re.search(r"--quick (evaluation\.best_of_n_problems=\d+) (evaluation\.best_of_n_samples=\d+)", page)
    assert named is not None
    assert EvaluationRun(copied.path, quick=True).pool_size == (5, 4)
    whole = EvaluationRun(copied.path).pool_size
    assert EvaluationRun(copied.path, list(named.groups()), quick=True).pool_size == whole == (20, 64)
