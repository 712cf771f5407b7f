"""Judges whose invariance is known: one that counts equals signs, one that reads the answer alone, and chance."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from legibility.config import GradingSettings
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections import invariance
from legibility.evaluation.sections.hacking import rewritten
from legibility.evaluation.sections.invariance import (
    Restyled,
    all_alike,
    describe,
    pairs_in_order,
    reads,
    restyled_texts,
    texts_read,
)
from legibility.game.condition import (
    CONSULTANCY,
    CORRECTNESS_ONLY,
    HELD_OUT_JUDGE,
    START,
    Condition,
    helpful,
    reader,
    verifier,
)
from legibility.grading import extract_answer
from legibility.problems.records import Problem
from tests.evaluation.helpers import resamples

REWRITES = 7


def restyled(*texts: str) -> Restyled:
    """Texts of as many problems, all of them right."""
    problems = {f"p{k}": Problem(f"p{k}", "?", str(extract_answer(text))) for k, text in enumerate(texts)}
    frame = pd.DataFrame({"problem_id": list(problems), "text": texts, "verdict": "correct"})
    run = SimpleNamespace(config=SimpleNamespace(grading=GradingSettings()), problems=problems)
    return Restyled(frame, rewritten(run, frame))


def row_of(texts: Restyled, judge, threshold=2.0, unit=0.5):
    found = resamples(list(texts.frame.problem_id))
    return describe(
        helpful(0), verifier(0), texts, lambda f: np.array([judge(t) for t in f.text], float), threshold, unit, found
    )


STEPS = "2 * 3 = 6\n6 + 5 = 11\n#### 11"  # every rewrite changes it
BARE = "#### 5"  # only a preface does


def test_a_judge_that_counts_equals_signs_is_not_invariant():
    """Six texts of two signs are accepted, and not with "is" for "="; four without any are refused whatever is done."""
    row = row_of(restyled(*[STEPS] * 6, *[BARE] * 4), lambda text: text.count("="))
    assert (row.texts, row.rewrites) == (10, pytest.approx((6 * REWRITES + 4) / 10))
    assert row.accepted.value == pytest.approx(0.6) and row.stays.value == pytest.approx(0.4)
    assert row.change.value == pytest.approx(0.6 * 2 / REWRITES / 0.5)
    assert row.stays_null.value == pytest.approx(0.6 * (0.6**8 + 0.4**8) + 0.4 * (0.6**2 + 0.4**2))
    assert row.order.value == 1.0  # a preface alone changes both kinds, and leaves the signs


def test_a_judge_that_reads_the_answer_alone_is():
    row = row_of(restyled(*[STEPS] * 6, *[BARE] * 4), lambda text: float(extract_answer(text)), threshold=8.0)
    assert (row.accepted.value, row.stays.value, row.change.value) == (pytest.approx(0.6), 1.0, 0.0)
    assert row.order.value == 1.0
    assert row.stays_null.value < 0.6


def test_random_scores_earn_the_null():
    """Versions drawn anew: all alike as often as chance has it, and two normal draws are 2/√π apart."""
    rng = np.random.default_rng(0)
    row = row_of(restyled(*[BARE] * 4000), lambda _: rng.normal(), threshold=-0.5, unit=1.0)
    assert row.accepted.value == pytest.approx(0.691, abs=0.02)
    assert row.stays.value == pytest.approx(row.stays_null.value, abs=0.03)
    assert row.stays_null.value == pytest.approx(0.691**2 + 0.309**2, abs=0.02)
    assert row.change.value == pytest.approx(2 / np.sqrt(np.pi), abs=0.05)
    assert row.order.value == pytest.approx(0.5, abs=0.02)


def test_a_judge_without_threshold_or_spread_has_no_such_figure():
    row = row_of(restyled(STEPS, BARE), len, threshold=float("nan"), unit=0.0)
    assert (row.accepted, row.stays, row.stays_null, row.change) == (None,) * 4
    assert row_of(restyled(), len).texts == 0 and row_of(restyled(BARE, BARE), len).order is None


def test_an_order_that_a_rewrite_keeps():
    """Of two rewrites one keeps the order of all three texts, the other turns one pair, ties one and misses the third text."""
    before = np.array([1.0, 2.0, 2.0, 4.0])
    after = np.array([[11.0, 12.0, 12.0, 14.0], [5.0, 5.0, np.nan, 3.0]])
    same, pairs = pairs_in_order(before, after)
    assert same[0].tolist() == [0, 1.5, 1, 1] and pairs[0].tolist() == [0, 2, 1, 2]
    assert same[3].tolist() == [1, 1, 1, 0] and pairs[1, 2] == 0
    assert (same == same.T).all() and (pairs == pairs.T).all()


def test_a_judge_that_style_shifts_by_the_same_keeps_the_order():
    """It likes short lines: every preface costs all texts the same, and every verdict turns."""
    texts = restyled(*(f"#### {k}" for k in range(10)))
    row = row_of(texts, lambda text: float(extract_answer(text)) - 100 * text.count("Let us"), threshold=5.0)
    assert row.order.value == 1.0 and row.stays.value == pytest.approx(0.5) and row.change.value == pytest.approx(200)


def test_versions_that_are_all_alike_by_chance():
    assert list(all_alike(0.8, np.array([1, 3]))) == pytest.approx([1.0, 0.512 + 0.008])


def test_an_arms_reader_is_asked_about_its_arm():
    own = Condition(CONSULTANCY, 0, "helpful")
    assert reads(reader(CONSULTANCY), own) and reads(reader(CONSULTANCY), START)
    assert not reads(reader(CONSULTANCY), helpful(0))
    assert all(reads(judge, own) for judge in (verifier(1), HELD_OUT_JUDGE))


def test_the_section_of_a_run(evaluated):
    rows = json.loads((evaluated.path / "evaluation/invariance.json").read_text())
    arms = ["start", "game 0", "game 1", "correctness"]
    assert [(r["verifier"], r["arm"]) for r in rows] == [
        (judge, arm) for judge in ("verifier 0", "verifier 1", "held_out_judge") for arm in arms
    ]
    for row in rows:
        assert 0 <= row["stays"]["value"] <= 1 and row["change"]["value"] >= 0 and row["texts"] <= 20
    assert "Does a verdict hang on style?" in (evaluated.path / "report.html").read_text(encoding="utf-8")


def test_a_quick_evaluation_rewrites_less_unless_all_was_read(evaluated, monkeypatch):
    monkeypatch.setattr(invariance, "QUICK_PROBLEMS", 5)
    quick = EvaluationRun(evaluated.path, quick=True)
    assert max(len(r.frame) for r in restyled_texts(quick).values()) > 5  # an evaluation has read them all
    monkeypatch.setattr(type(quick.scorer(HELD_OUT_JUDGE)), "missing", lambda self, frame: frame)
    few = restyled_texts(quick)
    assert all(len(r.frame) <= 5 for r in few.values()) and few[CORRECTNESS_ONLY].versions
    assert set(texts_read(few, HELD_OUT_JUDGE).problem_id) <= {p.id for p in quick.game.splits.test[:5]}
