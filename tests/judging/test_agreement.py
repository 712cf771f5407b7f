"""Krippendorff's alpha against a published example; judges beside people by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from legibility.game.condition import HELD_OUT_JUDGE, verifier
from legibility.judging.agreement import alpha, verifier_agreement
from tests.judging.world import RULES


def test_krippendorffs_published_example():
    """Krippendorff 2011, "Computing Krippendorff's alpha-reliability", binary data without gaps: alpha = 0.095; and a
    case with missing judgments against the coincidence formula."""
    meg = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    owen = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    table = pd.DataFrame(
        {"rater": ["m"] * 10 + ["o"] * 10, "item_id": list(range(10)) * 2, "verdict": [bool(x) for x in meg + owen]}
    )
    assert alpha(table) == pytest.approx(0.095, abs=0.0005)
    rows = [
        ("a", 0, 1),
        ("b", 0, 1),
        ("c", 0, 0),
        ("a", 1, 0),
        ("b", 1, 0),
        ("c", 2, 1),
    ]  # item 2 has one judgment: no pair
    found = alpha(pd.DataFrame(rows, columns=["rater", "item_id", "verdict"]).astype({"verdict": bool}))
    disagree, n, ones = 4 / 2, 5, 2  # item 0: two ordered pairs each way over m - 1 = 2
    assert found == pytest.approx(1 - (n - 1) * disagree / (2 * ones * (n - ones)))
    assert alpha(pd.DataFrame(rows[:1], columns=["rater", "item_id", "verdict"])) is None


def test_agreement_with_verifiers_by_hand():
    """Verifier 0 ranks as people do, the held-out judge the other way round; people are right about two of four."""
    key = pd.DataFrame(
        {
            "problem_id": list("abcd"),
            "correct": [True, True, False, False],
            "scores": [{verifier(0): s, HELD_OUT_JUDGE: -s} for s in (3.0, 1.0, 2.0, 0.0)],
        },
        index=list("ABCD"),
    )
    rows = [("r", i, v) for i, v in zip("ABCD", (True, False, True, False), strict=True)]
    found = verifier_agreement(pd.DataFrame(rows, columns=["rater", "item_id", "verdict"]), key, RULES)
    assert found["verifier 0"].auroc_people.value == 1 and found["held_out_judge"].auroc_people.value == 0
    assert found["verifier 0"].auroc_truth.value == pytest.approx(3 / 4)
    assert found["people"].auroc_truth.value == pytest.approx(0.5)
    assert found["verifier 0"].auroc_people_incorrect.value == 1
