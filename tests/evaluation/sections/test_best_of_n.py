"""Balanced best-of-n against enumeration, Monte Carlo and judges that are known."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legibility.evaluation import balanced_best_of_n, pairwise_accuracy
from legibility.evaluation.schema import read_evaluation
from legibility.evaluation.sections.best_of_n import chance_of_n

pools = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=9)


@given(pools, st.sampled_from([2, 4, 6]))
def test_best_of_n_by_enumeration(pool, n):
    """Every n/2-subset of both classes, ties half; few distinct scores, so ties abound."""
    right, wrong = [s for s, c in pool if c], [s for s, c in pool if not c]
    rounds = [(max(a), max(b)) for a in combinations(right, n // 2) for b in combinations(wrong, n // 2)]
    expected = np.mean([(a > b) + 0.5 * (a == b) for a, b in rounds]) if rounds else float("nan")
    got = balanced_best_of_n([s for s, _ in pool], [c for _, c in pool], n)
    assert got == pytest.approx(expected, nan_ok=True)


def test_best_of_n_by_monte_carlo():
    """A pool too large to enumerate, drawn from as the paper does."""
    rng = np.random.default_rng(0)
    scores = np.round(np.concatenate([rng.normal(0.0, 1, 150), rng.normal(0.6, 1, 250)]), 1)
    correct = np.arange(400) < 150
    for n in (2, 8, 64):
        draws = 4000
        right = np.array([rng.choice(scores[correct], n // 2, replace=False).max() for _ in range(draws)])
        wrong = np.array([rng.choice(scores[~correct], n // 2, replace=False).max() for _ in range(draws)])
        seen = np.mean((right > wrong) + 0.5 * (right == wrong))
        assert balanced_best_of_n(scores, correct, n) == pytest.approx(seen, abs=4 * 0.5 / np.sqrt(draws))


def test_best_of_n_of_two_is_the_pairwise_accuracy():
    rng = np.random.default_rng(1)
    scores, correct = rng.integers(0, 5, 30), rng.random(30) < 0.4
    assert balanced_best_of_n(scores, correct, 2) == pytest.approx(pairwise_accuracy(scores, correct, ["p"] * 30))


def test_best_of_n_of_judges_that_are_known():
    correct = np.arange(700) < 350
    noise = np.random.default_rng(2).random(700)
    for n in (2, 16, 600):
        assert balanced_best_of_n(correct, correct, n) == pytest.approx(1)
        assert balanced_best_of_n(-1.0 * correct, correct, n) == pytest.approx(0, abs=1e-12)
        assert balanced_best_of_n(np.zeros(700), correct, n) == pytest.approx(0.5)
    assert balanced_best_of_n(noise, correct, 2) == pytest.approx(0.5, abs=0.05)


def test_best_of_n_needs_enough_of_both():
    assert np.isnan(balanced_best_of_n([1, 2, 3], [True, True, False], 4))
    assert np.isnan(balanced_best_of_n([], [], 2))
    for n in (0, 3, -2):
        with pytest.raises(ValueError, match="even"):
            balanced_best_of_n([1, 2], [True, False], n)


# ---------------------------------------------------------------- chance


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=9), st.sampled_from([2, 4, 6]))
def test_chance_is_the_mean_over_all_rankings_of_the_distinct_texts(pool, n):
    """Every order of the distinct texts as scores, one after the other, through the metric itself."""
    texts = [f"{text}{right}" for text, right in pool]  # equal texts are equally correct
    correct = [right for _, right in pool]
    distinct = sorted(set(texts))
    rankings = list(permutations(range(len(distinct))))
    found = [balanced_best_of_n([order[distinct.index(t)] for t in texts], correct, n) for order in rankings]
    assert chance_of_n(texts, correct, n) == pytest.approx(np.mean(found), nan_ok=True)


def test_chance_is_one_half_where_no_text_repeats():
    texts, correct = [str(i) for i in range(40)], [i % 3 == 0 for i in range(40)]
    for n in (2, 8, 16):
        assert chance_of_n(texts, correct, n) == pytest.approx(0.5)


def test_the_class_that_repeats_itself_loses_by_chance():
    """Eight copies of one right text against eight different wrong ones: one text in nine."""
    texts, correct = ["right"] * 8 + [f"wrong {i}" for i in range(8)], [True] * 8 + [False] * 8
    assert chance_of_n(texts, correct, 16) == pytest.approx(1 / 9)
    assert chance_of_n(texts, [not c for c in correct], 16) == pytest.approx(8 / 9)


def test_chance_of_large_pools_is_finite():
    texts, correct = [str(i // 3) for i in range(600)], [i < 300 for i in range(600)]
    assert chance_of_n(texts, correct, 256) == pytest.approx(0.5)
    assert np.isnan(chance_of_n(texts, correct, 1024))


def test_the_null_stands_beside_the_value(evaluated):
    """Rows of a real run: the difference is paired, so it is exactly value less null."""
    rows = [row for row in read_evaluation(evaluated).best_of_n if row.value is not None]
    assert rows
    for row in rows:
        assert row.above_null.value == pytest.approx(row.value - row.null) and 0 <= row.null <= 1
