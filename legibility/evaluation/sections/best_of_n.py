"""Balanced best-of-n: does a verifier's favourite among n solutions, half of them correct, tend to be correct?

Kirchner et al. 2024, Sec. 4.3.1 and Fig. 6b: of one problem's pool, n/2 correct and n/2 incorrect
solutions are drawn at random; the verifier picks the one it scores highest. The paper samples; here the
expectation over all draws is exact:

    P = sum_v P(max C = v) * (P(max I < v) + P(max I = v) / 2),   P(max C <= v) = binom(#C <= v, h) / binom(#C, h)

with h = n/2, C the correct and I the incorrect scores. Chance is not 0.5 where texts repeat (`chance_of_n`), so
every figure stands beside what random scores get on the same pool.
"""

from __future__ import annotations

from collections import Counter
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


def chance_of_n(texts: Sequence[str], correct: Any, n: int) -> float:
    """What `balanced_best_of_n` is on average for scores that know nothing: a random one for every distinct text.

    texts (k,), correct (k,) bool; equal texts are equally correct. It is 0.5 only where every text is another one: the
    favourite is then any of the distinct texts drawn, and the kind that repeats itself less has more of them.
    Exact: E[d_C / (d_C + d_I)] with d the distinct texts among n/2 random ones of each kind. nan as there.
    """
    labels = np.asarray(correct, dtype=bool)
    right = Counter(t for t, c in zip(texts, labels, strict=True) if c)
    wrong = Counter(t for t, c in zip(texts, labels, strict=True) if not c)
    half = n // 2
    if min(right.total(), wrong.total()) < half:
        return float("nan")
    ours, theirs = (_distinct(tuple(sorted(kind.values())), half) for kind in (right, wrong))
    count = np.arange(half + 1)
    with np.errstate(invalid="ignore"):
        share = count[:, None] / (count[:, None] + count[None])  # at least one text is drawn of each kind
    return float(np.nansum(ours[:, None] * theirs[None] * share))


@lru_cache(maxsize=4096)
def _distinct(repeats: tuple[int, ...], half: int) -> np.ndarray:
    """For d = 0..half: the chance that `half` draws without replacement hold d of the texts, `repeats` copies of each."""
    ways = np.zeros((half + 1, half + 1))  # of drawing so many, with so many distinct ones among them
    ways[0, 0] = 1.0
    for copies in repeats:
        before = ways.copy()
        for k in range(1, min(copies, half) + 1):
            ways[k:, 1:] += float(comb(copies, k)) * before[: half + 1 - k, :-1]
    found: np.ndarray = ways[half] / float(comb(sum(repeats), half))
    return found


def compute(run: EvaluationRun) -> list[BestOfNRow]:
    """Per round and n: the mean over problems, round r's verifier on a pool of round r's helpful text."""
    rows = []
    pools = [run.pool(index) for index in run.rounds]
    for index, drawn in run.progress.each("best_of_n", list(zip(run.rounds, pools, strict=True))):
        pool = valid(drawn)
        scores = run.scores(verifier(index), pool)
        correct, texts = (pool.verdict == "correct").to_numpy(), pool.text.to_numpy()
        groups = list(pool.groupby("problem_id", sort=True).indices.items())
        largest = run.pool_size[1]
        for n in [n for n in SIZES if n <= largest]:
            found = np.array([balanced_best_of_n(scores[i], correct[i], n) for _, i in groups])
            known = ~np.isnan(found)
            chance = np.array([chance_of_n(texts[i], correct[i], n) for _, i in groups])
            problems = [p for p, _ in groups]
            estimate = run.resamples.ratio(problems, np.where(known, found, 0.0), known)
            null = run.resamples.ratio(problems, np.where(known, chance, 0.0), known)
            rows.append(
                BestOfNRow(
                    round=index,
                    n=n,
                    **dict(estimate.interval()),
                    null=null.value,
                    above_null=(estimate - null).interval(),
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
