"""Metrics of scores against verdicts, and bootstrap intervals over problems.

Ties count half everywhere. `nan` means undefined (an empty class).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata


def auroc(scores: ArrayLike, correct: ArrayLike) -> float:
    """P(score of a correct solution > score of an incorrect one), over all pairs. scores, correct (n,).

    nan if a class is empty.
    """
    values, labels = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def pairwise_accuracy(scores: ArrayLike, correct: ArrayLike, problem_ids: Iterable[Hashable]) -> float:
    """P(V(z1) > V(z2)) over pairs of one correct and one incorrect solution of the same problem, pooled.

    scores, correct, problem_ids (n,). nan without such a pair.
    """
    values, labels = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    members: dict[Hashable, list[int]] = {}
    for i, problem in enumerate(problem_ids):
        members.setdefault(problem, []).append(i)
    won = total = 0.0
    for indices in members.values():
        right = values[[i for i in indices if labels[i]]]
        wrong = values[[i for i in indices if not labels[i]]]
        if len(right) and len(wrong):
            difference = right[:, None] - wrong[None, :]
            won += float((difference > 0).sum() + 0.5 * (difference == 0).sum())
            total += difference.size
    return won / total if total else float("nan")


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    count: int,
    *,
    resamples: int,
    confidence_level: float,
    rng: np.random.Generator,
) -> dict[str, float | None]:
    """Percentile bootstrap: `statistic(indices)` over resampled units 0..count-1; draws of nan are left out.

    Returns {"value", "low", "high"}; undefined numbers are None.
    """
    value = statistic(np.arange(count))
    draws = np.array([statistic(rng.integers(0, count, count)) for _ in range(resamples)]) if count else np.array([])
    draws = draws[~np.isnan(draws)]
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail]) if len(draws) else (float("nan"), float("nan"))
    return {"value": number(value), "low": number(low), "high": number(high)}


def number(value: float) -> float | None:
    """A JSON-safe float: None where it is not finite."""
    return float(value) if np.isfinite(value) else None
