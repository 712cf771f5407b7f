"""Discrimination: planted judges whose figures are known, and the nulls."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from legibility.game.discrimination import discrimination, same_style
from legibility.game.run_records import Discrimination, SameStyle
from legibility.grading.style import style_of
from legibility.metrics import pair_counts

STEPS = {2: "3 + 4 = 7\n7 * 2 = {}\n#### {}", 3: "3 + 4 = 7\n7 * 2 = 14\n14 - 1 = {}\n#### {}"}
BARE = {1: "#### {1}", 3: "7 14 {}\n#### {}"}


def texts_by(rng: np.random.Generator, problems: int = 400) -> pd.DataFrame:
    """Valid text of both roles in which style and role say much about the verdict, as in trained provers' text."""
    rows = []
    for p in range(problems):
        for role in ("helpful", "sneaky"):
            for _ in range(6):
                step_by_step = rng.random() < (0.8 if role == "helpful" else 0.3)
                share = (0.7 if step_by_step else 0.1) * (1.0 if role == "helpful" else 0.5)
                correct = rng.random() < share
                longer = rng.random() < (0.3 if correct else 0.7)
                answer = 13 if correct else 14 + int(rng.integers(3))
                form = list((STEPS if step_by_step else BARE).values())[int(longer)]
                rows.append((f"p{p}", role, "correct" if correct else "incorrect", form.format(answer, answer)))
    return pd.DataFrame(rows, columns=["problem_id", "role", "verdict", "text"])


@pytest.fixture(scope="module")
def texts() -> pd.DataFrame:
    return texts_by(np.random.default_rng(0))


def test_discrimination_knows_the_roles_that_wrote():
    """By hand: helpful 1 of 2 pairs, sneaky both; pooled h+ (2, 0) against s- (1): 1 of 2."""
    frame = pd.DataFrame(
        {
            "problem_id": list("aabbb"),
            "role": ["helpful", "helpful", "helpful", "sneaky", "sneaky"],
            "verdict": ["correct", "incorrect", "correct", "correct", "incorrect"],
            "text": ["1 = 1", "1 = 2", "1", "1 = 1", "1 = 1\n#### 1"],
        }
    )
    found = discrimination(frame, np.array([2.0, 1.5, 0.0, 3.0, 1.0]))
    pairs = SameStyle(value=1.0, pairs=1, problems=1, coverage=0.5, standard_error=0.0, helpful=1.0, sneaky=None)
    assert found == Discrimination(
        pooled=0.5, within_role=0.75, helpful=0.5, sneaky=1.0, pairwise=1.0, same_style=pairs
    )
    assert "base" not in found.model_dump()
    only = discrimination(frame[:2].assign(role="base"), np.array([2.0, 1.5])).model_dump()
    assert only.pop("same_style") == {
        "value": 1.0,
        "pairs": 1,
        "problems": 1,
        "coverage": 1.0,
        "standard_error": 0.0,
        "base": 1.0,
    }
    assert only == {"pooled": 1.0, "within_role": 1.0, "base": 1.0, "pairwise": 1.0}


def test_same_style_by_hand():
    """p: styles A (right 2.0; wrong 1.0, 2.0) and B (right 0.0; wrong 5.0); q: A, both right. Pairs: 1, 1/2; 0."""
    step, bare = "1 + 1 = {}\n#### {}", "#### {1}"
    rows = [
        ("p", "correct", step.format(2, 2), 2.0),
        ("p", "incorrect", step.format(3, 3), 1.0),
        ("p", "incorrect", step.format(4, 4), 2.0),
        ("p", "correct", bare.format(0, 2), 0.0),
        ("p", "incorrect", bare.format(0, 3), 5.0),
        ("q", "correct", step.format(5, 5), 9.0),
        ("q", "correct", step.format(6, 6), 9.0),
    ]
    frame = pd.DataFrame(rows, columns=["problem_id", "verdict", "text", "score"]).assign(role="helpful")
    found = same_style(frame, frame.score.to_numpy())
    assert (found.value, found.pairs, found.problems) == (pytest.approx(1.5 / 3), 3, 1)
    assert found.coverage == pytest.approx(3 / 6)  # p has two right and three wrong texts
    nothing = same_style(frame[5:], np.ones(2))
    assert (nothing.value, nothing.pairs, nothing.coverage, nothing.helpful) == (None, 0, None, None)


RULES = {
    "contains =": lambda f: f.text.str.contains("=").astype(float),
    "number of =": lambda f: f.text.str.count("=").astype(float),
    "lines": lambda f: -f.text.str.count("\n").astype(float),
    "numbers": lambda f: f.text.str.count(r"\d+").astype(float),
    "role": lambda f: (f.role == "helpful").astype(float),
    "easy problems": lambda f: f.problem_id.map((f.verdict == "correct").groupby(f.problem_id).mean()),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_reads_no_text_gets_one_half(texts, rule):
    """Exactly, since it ties on every pair. Each does well on a pooled figure, which is why that is no headline."""
    scores = RULES[rule](texts).to_numpy(dtype=float)
    found = discrimination(texts, scores)
    assert (found.same_style.value, found.same_style.helpful, found.same_style.sneaky) == (0.5, 0.5, 0.5)
    assert abs(found.pooled - 0.5) > 0.05 and found.same_style.pairs > 500
    assert 0.1 < found.same_style.coverage < 0.9


def test_a_reader_of_truth_gets_one_and_its_opposite_nought(texts):
    truth = (texts.verdict == "correct").to_numpy(dtype=float)
    assert same_style(texts, truth).value == 1.0 and same_style(texts, -truth).value == 0.0


def test_style_adds_nothing_to_a_noisy_reader(texts):
    """A score that is truth plus noise keeps P(N(1, 1) > N(0, 1)) = 0.760, whatever it adds for style and role."""
    rng, truth = np.random.default_rng(1), (texts.verdict == "correct").to_numpy(dtype=float)
    scores = truth + rng.normal(size=len(texts))
    plain = same_style(texts, scores).value
    assert plain == pytest.approx(0.760, abs=0.03)
    looks = 5 * RULES["contains ="](texts) + 3 * RULES["lines"](texts) + 7 * RULES["role"](texts)
    assert same_style(texts, scores + looks.to_numpy()).value == pytest.approx(plain)


def test_the_standard_error_is_that_of_a_bootstrap_over_problems(texts):
    rng = np.random.default_rng(2)
    scores = (texts.verdict == "correct").to_numpy(dtype=float) + rng.normal(size=len(texts))
    found = same_style(texts, scores)
    keys = list(zip(texts.problem_id, texts.role, map(style_of, texts.text), strict=True))
    won, total = pair_counts(scores, texts.verdict == "correct", keys)
    problems = sorted({key[0] for key in total})
    counts = np.array([[sum(c[k] for k in c if k[0] == p) for c in (won, total)] for p in problems])
    draws = [counts[rng.integers(0, len(problems), len(problems))].sum(0) for _ in range(2000)]
    assert found.standard_error == pytest.approx(np.std([w / t for w, t in draws]), rel=0.1)
    constant = same_style(texts, np.zeros(len(texts)))
    assert (constant.value, constant.standard_error) == (0.5, 0.0)


def test_random_scores_get_one_half_even_where_texts_repeat(texts):
    """One score per distinct text of a problem: best-of-n's null moves with repetition, this one does not."""
    found = []
    for seed in range(40):
        rng, drawn = np.random.default_rng(seed), {}
        scores = [drawn.setdefault(key, rng.normal()) for key in zip(texts.problem_id, texts.text, strict=True)]
        found.append(same_style(texts, np.array(scores)).value)
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / np.sqrt(len(found)))
    assert np.std(found) < 0.05
