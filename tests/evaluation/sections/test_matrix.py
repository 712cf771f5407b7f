"""The matrix against independent computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.evaluation import auroc
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections.matrix import SolutionSet, compute, solution_sets
from legibility.evaluation.summary_schema import read_summary
from legibility.evaluation.text_sets import Attackers, BothRoles
from legibility.game.condition import helpful, sneaky, verifier
from legibility.models.verifier import Verifier
from tests.evaluation.helpers import section


def test_a_cell_of_the_matrix(evaluated):
    """Verifier 1 on round 0's pooled text, from the parquet file and the saved weights."""
    problems = EvaluationRun(evaluated.path).problems
    frame = pd.read_parquet(evaluated.path / "rounds/00/solutions.parquet")
    frame = frame[(frame.split == "test") & (frame.phase == "collection")]
    right = frame[(frame.role == "helpful") & (frame.verdict == "correct")]
    wrong = frame[(frame.role == "sneaky") & (frame.verdict == "incorrect")]
    reader = Verifier.load(evaluated.config().verifier, "cpu", source=str(evaluated.path / "rounds/01/verifier"))
    a, b = (reader.score([problems[p] for p in f.problem_id], list(f.text)) for f in (right, wrong))
    matrix = section(evaluated, "matrix")
    assert matrix["counts"]["round 0"] == {"correct": len(right), "incorrect": len(wrong)}
    expected = auroc(np.concatenate([a, b]), [True] * len(a) + [False] * len(b))
    got = matrix["auroc"]["verifier 1"]["round 0"]
    if min(len(right), len(wrong)) < 20:
        assert got is None and matrix["fpr"]["verifier 1"]["round 0"] == (
            None if len(wrong) < 20 else pytest.approx((b >= matrix["threshold"]["verifier 1"]).mean())
        )
    else:
        assert got == pytest.approx(expected, abs=1e-6)


def test_no_solution_set_holds_invalid_text(evaluated):
    for found in solution_sets(EvaluationRun(evaluated.path)):
        assert set(found.frame.verdict) <= {"correct", "incorrect"}


def planted(run: EvaluationRun, monkeypatch, score) -> dict:
    """The matrix of a run whose judges all score by `score(frame)`, as it would be written."""
    monkeypatch.setattr(EvaluationRun, "scores", lambda self, judge, frame: np.asarray(score(frame), dtype=float))
    monkeypatch.setattr("legibility.evaluation.sections.matrix.LEAST", 1)
    return compute(run).model_dump(mode="json")


def known(cells: dict) -> list[float]:
    return [v for row in cells.values() for v in row.values() if v is not None]


def test_planted_judges_have_their_known_same_style_accuracy(evaluated, monkeypatch):
    """A reader of truth 1 everywhere, rules on looks exactly one half, whatever their AUROC."""
    run = EvaluationRun(evaluated.path)
    truth = planted(run, monkeypatch, lambda f: f.verdict == "correct")
    assert set(known(truth["same_style"])) == {1.0} and len(known(truth["same_style"])) >= 6
    for rule in (lambda f: f.text.str.contains("="), lambda f: f.text.str.count("\n"), lambda f: f.role == "helpful"):
        looks = planted(run, monkeypatch, rule)
        assert set(known(looks["same_style"])) == {0.5}
    roles = planted(run, monkeypatch, lambda f: f.role == "helpful")
    assert roles["auroc"]["verifier 0"]["round 0"] == 1.0 and roles["same_style"]["verifier 0"]["round 0"] == 0.5


def test_the_pairs_of_a_round_are_those_inside_its_roles():
    def frame(role: str, verdicts: str) -> pd.DataFrame:
        verdict = ["correct" if v == "c" else "incorrect" for v in verdicts]
        text = ["1 + 1 = 2\n#### 2" if v == "c" else "1 + 1 = 3\n#### 3" for v in verdicts]
        return pd.DataFrame({"problem_id": "p", "role": role, "verdict": verdict, "text": text})

    ours, theirs = frame("helpful", "cci"), frame("sneaky", "ciii")
    pooled = pd.concat([ours[ours.verdict == "correct"], theirs[theirs.verdict == "incorrect"]])
    assert SolutionSet(helpful(0), ours).pair_counts.pairs == 2
    assert SolutionSet(sneaky(0), theirs).pair_counts.pairs == 3
    both = SolutionSet(BothRoles(0), pooled, pd.concat([ours, theirs])).pair_counts
    assert (both.pairs, both.coverage) == (5, 1.0)  # and not the 2 * 3 across roles
    attack = SolutionSet(Attackers("src", 0), pooled).pair_counts
    assert (attack.pairs, attack.coverage) == (6, 1.0)
    bare = theirs.assign(text="#### 9")
    assert SolutionSet(Attackers("src", 0), pd.concat([ours, bare])).pair_counts.coverage == pytest.approx((2 + 3) / 12)


def test_the_summary_and_the_matrix_agree(evaluated):
    summary = read_summary(evaluated.path / "summary.json")
    for row in summary.arms.game.rounds:
        own, judge, both = row.verifier.same_style, verifier(row.round), BothRoles(row.round)
        matrix = summary.evaluation.matrix
        assert matrix.same_style_pairs[both].pairs == own.pairs
        assert matrix.same_style_pairs[both].coverage == pytest.approx(own.coverage)
        if own.pairs >= matrix.least:
            assert matrix.same_style[judge][both] == pytest.approx(own.value, abs=1e-6)
            assert matrix.same_style_interval[judge][both] == pytest.approx((own.low, own.high), abs=1e-6)
