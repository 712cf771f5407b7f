"""The matrix against independent computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.evaluation import auroc
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections.matrix import solution_sets
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
