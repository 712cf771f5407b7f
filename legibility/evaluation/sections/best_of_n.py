"""Balanced best-of-n: does a verifier's favourite among n solutions, half of them correct, tend to be correct?

Kirchner et al. 2024, Sec. 4.3.1 and Fig. 6b: of one problem's pool, n/2 correct and n/2 incorrect
solutions are drawn at random; the verifier picks the one it scores highest. 0.5 is chance. The paper
samples; here the expectation over all draws is exact:

    P = sum_v P(max C = v) * (P(max I < v) + P(max I = v) / 2),   P(max C <= v) = binom(#C <= v, h) / binom(#C, h)

with h = n/2, C the correct and I the incorrect scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np

from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import BestOfNRow
from legibility.evaluation.texts import valid
from legibility.game.condition import verifier
from legibility.prompts import HELPFUL

SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 512)


def balanced_best_of_n(scores: Any, correct: Any, n: int) -> float:
    """P(the best-scored of n/2 random correct and n/2 random incorrect solutions of one problem is correct).

    scores (k,), correct (k,) bool. Ties count half. nan where either class has fewer than n/2.
    Raises ValueError unless n is even and positive.
    """
    if n < 2 or n % 2:
        raise ValueError(f"n must be even and at least 2, got {n}")
    values, labels = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    right, wrong, half = np.sort(values[labels]), np.sort(values[~labels]), n // 2
    if min(len(right), len(wrong)) < half:
        return float("nan")
    levels = np.unique(right)
    most_right = _chance_within(len(right), half)[np.searchsorted(right, levels, "right")]  # P(max C <= level)
    within = _chance_within(len(wrong), half)
    below, upto = within[np.searchsorted(wrong, levels, "left")], within[np.searchsorted(wrong, levels, "right")]
    return float(np.sum(np.diff(most_right, prepend=0.0) * (below + upto) / 2))


@lru_cache(maxsize=4096)
def _chance_within(size: int, half: int) -> np.ndarray:
    """For k = 0..size: the chance that `half` of `size` things drawn at random are all among k given ones."""
    total = comb(size, half)
    return np.array([comb(k, half) / total for k in range(size + 1)])


def compute(run: EvaluationRun) -> list[BestOfNRow]:
    """Per round and n: the mean over problems, round r's verifier on a pool of round r's helpful text."""
    rows = []
    for index in run.rounds:
        pool = run.pool(index)
        pool = valid(pool)
        scores = run.scores(verifier(index), pool)
        correct = (pool.verdict == "correct").to_numpy()
        groups = list(pool.groupby("problem_id", sort=True).indices.items())
        largest = run.settings.evaluation.best_of_n_samples
        for n in [n for n in SIZES if n <= largest]:
            found = np.array([balanced_best_of_n(scores[i], correct[i], n) for _, i in groups])
            known = ~np.isnan(found)
            estimate = run.resamples.ratio([p for p, _ in groups], np.where(known, found, 0.0), known)
            rows.append(
                BestOfNRow(
                    round=index,
                    n=n,
                    **dict(estimate.interval()),
                    problems=int(known.sum()),
                    role=HELPFUL,
                    decoding=run.decoding(largest, len(groups)),
                )
            )
    return rows


def common_sizes(rows: Sequence[BestOfNRow], least: int = 20) -> list[int]:
    """The n for which every round has at least `least` problems."""
    sizes = sorted({r.n for r in rows})
    return [n for n in sizes if min(r.problems for r in rows if r.n == n) >= least]
