"""Intervals for numbers made of judgments that share raters and problems.

A two-way clustered bootstrap. Raters are resampled with replacement, problems likewise; a draw is the
sum of the two deviations. That counts the noise of single judgments twice, so draws are rescaled to the
two-way variance V_raters + V_problems - V_judgments (Cameron, Gelbach and Miller 2011), never below the
larger of the two one-way variances, and widened by Student's t for few clusters. (Multiplying rater and
problem weights, the "pigeonhole" bootstrap of Owen 2007, counts judgment noise three times and covers far
more than it says.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t
from statsmodels.stats.proportion import proportion_confint

Statistic = Callable[[np.ndarray], np.ndarray]  # (draws, sums) -> (draws, numbers); nan where undefined


@dataclass(frozen=True)
class Intervals:
    """`value`, `low`, `high`: arrays (numbers,), nan where undefined."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def clustered_intervals(
    sums: np.ndarray,
    raters: np.ndarray,
    problems: np.ndarray,
    statistic: Statistic,
    *,
    resamples: int,
    confidence_level: float,
    rng: np.random.Generator,
) -> Intervals:
    """Percentile intervals of `statistic(sums over judgments)`.

    sums: (judgments, sums), what each judgment adds; raters, problems: (judgments,), whose and of what.
    """
    total = sums.sum(0)
    value = statistic(total[None])[0]
    slopes = _slopes(statistic, total)  # (numbers, sums)
    influence = sums @ np.nan_to_num(slopes).T  # (judgments, numbers): the delta method's linear parts
    draws, variances, clusters = 0.0, [], []
    for labels in (raters, problems):
        codes = np.unique(labels, return_inverse=True)[1]
        count = int(codes.max()) + 1
        of_cluster = np.zeros((count, sums.shape[1]))
        np.add.at(of_cluster, codes, sums)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
        taking_part = ((of_cluster != 0).astype(float) @ (np.nan_to_num(slopes) != 0).T > 0).sum(0)  # (numbers,)
        inflate = taking_part / np.maximum(taking_part - 1, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            draws = draws + (statistic(weights @ of_cluster) - value) * np.sqrt(inflate)
        parts = np.zeros((count, influence.shape[1]))
        np.add.at(parts, codes, influence)
        variances.append((parts**2).sum(0) * inflate)
        clusters.append(taking_part)
    by_rater, by_problem = variances
    two_way = np.maximum(by_rater + by_problem - (influence**2).sum(0), np.maximum(by_rater, by_problem))
    tail = (1 + confidence_level) / 2
    freedom = np.maximum(np.minimum(*clusters) - 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = draws * np.sqrt(two_way / (by_rater + by_problem)) * (t.ppf(tail, freedom) / norm.ppf(tail))
    low, high = _quantiles(draws, 1 - tail), _quantiles(draws, tail)
    return Intervals(value, value + low, value + high)


def share_interval(share: float, clusters: int, confidence_level: float) -> tuple[float, float]:
    """Wilson interval of a share that is exactly 0 or 1, where resampling shows no spread.

    clusters: stands for the number of independent judgments; the smaller of raters and problems is a cautious choice.
    """
    low, high = proportion_confint(round(share * clusters), clusters, alpha=1 - confidence_level, method="wilson")
    return float(low), float(high)


def _slopes(statistic: Statistic, total: np.ndarray) -> np.ndarray:
    """Central differences of the statistic at `total`; shape (numbers, sums)."""
    step = 1e-4 * np.maximum(np.abs(total), 1.0)
    moved = np.diag(step)
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes: np.ndarray = ((statistic(total + moved) - statistic(total - moved)) / (2 * step)[:, None]).T
    return slopes


def _quantiles(draws: np.ndarray, q: float) -> np.ndarray:
    """Quantile of each column over its defined draws."""
    out = np.full(draws.shape[1], np.nan)
    known = ~np.isnan(draws).all(0)
    out[known] = np.nanquantile(draws[:, known], q, axis=0)
    return out
