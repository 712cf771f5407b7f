"""How well people judge each condition: accuracy, false accepts, false rejects, time, each with an interval.

Accuracy of a condition is the mean of its accuracy on correct and on incorrect solutions, so that it does
not move with the mix of labels a rater happened to get; a sneaky condition has incorrect solutions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from legibility.game.condition import Condition
from legibility.judging.clustered_bootstrap import Intervals, Statistic, clustered_intervals, share_interval
from legibility.judging.protocol import AnalysisRules
from legibility.judging.results_schema import ConditionDifference, ConditionResult, LengthMatched, MatchedAccuracy
from legibility.metrics import number
from legibility.randomness import stream
from legibility.stored import Interval

WRONG, RIGHT = 0, 1  # index of the label


def condition_results(
    judgments: pd.DataFrame, conditions: Sequence[Condition], rules: AnalysisRules
) -> list[ConditionResult]:
    """One record per condition, and none where there is none.

    judgments: rater, problem_id, item_id, condition, correct, right, seconds, timed_out (`joined_table`).
    """
    if not conditions:
        return []
    count = len(conditions)
    rates = judgment_intervals(
        judgments, cell_sums(judgments, conditions), _rates_statistic(conditions), rules, "rates"
    )
    times = judgment_intervals(
        judgments, time_sums(judgments, conditions), lambda s: s[:, :count] / s[:, count:], rules, "times"
    )
    results = []
    for i, condition in enumerate(conditions):
        mine = judgments[judgments.condition == condition]
        wrong_ones, right_ones = (mine[mine.correct == label] for label in (False, True))
        known = mine.seconds.dropna()
        when_right = mine.seconds[mine.right].dropna()
        results.append(
            ConditionResult(
                arm=condition.arm,
                round=condition.round,
                role=condition.role,
                label=condition.label,
                judgments=len(mine),
                raters=int(mine.rater.nunique()),
                problems=int(mine.problem_id.nunique()),
                items=int(mine.item_id.nunique()),
                accuracy=estimate(rates, i, mine, rules, share=True),
                false_accept=estimate(rates, count + i, wrong_ones, rules, share=True),
                false_reject=estimate(rates, 2 * count + i, right_ones, rules, share=True),
                mean_seconds=estimate(times, i, mine, rules),
                median_seconds=number(known.median()) if len(known) else None,
                mean_seconds_when_right=number(when_right.mean()) if len(when_right) else None,
                timed_out=number(mine.timed_out.mean()) if len(mine) else None,
            )
        )
    return results


def differences(
    judgments: pd.DataFrame, conditions: Sequence[Condition], rules: AnalysisRules
) -> list[ConditionDifference]:
    """Accuracy of the second minus the first, for every two conditions whose writers were asked to be right."""
    pairs = list(combinations([i for i, c in enumerate(conditions) if not c.sneaky], 2))
    if not pairs:
        return []
    first, second = map(list, zip(*pairs, strict=True))
    rates = _rates_statistic(conditions)
    found = judgment_intervals(
        judgments,
        cell_sums(judgments, conditions),
        lambda s: rates(s)[:, second] - rates(s)[:, first],
        rules,
        "differences",
    )
    return [
        ConditionDifference(first=conditions[a], second=conditions[b], difference=estimate(found, k, judgments, rules))
        for k, (a, b) in enumerate(pairs)
    ]


def length_matched(judgments: pd.DataFrame, conditions: Sequence[Condition], rules: AnalysisRules) -> LengthMatched:
    """Accuracy if all conditions had solutions of the same lengths (direct standardisation).

    Length classes are quantiles of the items' characters. Per label, only classes in which every
    condition has judgments count, weighted by their share of all judgments: `coverage` says how much of
    the data that is; where it is 0 the conditions do not overlap and nothing is compared.
    """
    fair = [c for c in conditions if not c.sneaky]
    data = judgments[judgments.condition.isin(fair)]
    if data.empty:
        return LengthMatched(coverage=0.0, conditions=[])
    lengths = data.drop_duplicates("item_id").solution_chars
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, rules.length_bins + 1)[1:-1]))
    classes = np.searchsorted(edges, data.solution_chars.to_numpy())
    bins, shape = len(edges) + 1, (len(fair), 2, len(edges) + 1)
    sums = cell_sums(data, fair, classes, bins)
    counts = sums[:, sums.shape[1] // 2 :].sum(0).reshape(shape)
    usable = (counts > 0).all(0)  # (labels, bins)
    weights = np.where(usable, counts.sum(0), 0.0)
    coverage = float(weights.sum() / counts.sum())
    if not usable.any(1).all():
        return LengthMatched(coverage=coverage, conditions=[])
    weights = weights / weights.sum(1, keepdims=True)

    def statistic(s: np.ndarray) -> np.ndarray:
        right, n = np.split(s.reshape(len(s), 2, *shape), 2, axis=1)
        rates = np.where(usable, right[:, 0] / n[:, 0], 0.0)  # (draws, conditions, labels, bins)
        matched: np.ndarray = (rates * weights).sum(-1).mean(-1)
        return matched

    found = judgment_intervals(data, sums, statistic, rules, "length")
    return LengthMatched(
        coverage=coverage,
        conditions=[
            MatchedAccuracy(condition=c, accuracy=estimate(found, i, data[data.condition == c], rules, share=True))
            for i, c in enumerate(fair)
        ],
    )


def _rates_statistic(conditions: Sequence[Condition]) -> Statistic:
    """Sums -> accuracy, false accept, false reject of every condition, one after the other."""
    one_label = np.array([c.sneaky for c in conditions])

    def statistic(s: np.ndarray) -> np.ndarray:
        right, n = np.split(s.reshape(len(s), 2, len(conditions), 2), 2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = right[:, 0] / n[:, 0]  # (draws, conditions, labels)
        accuracy = np.where(one_label, rates[..., WRONG], rates.mean(-1))
        return np.concatenate([accuracy, 1 - rates[..., WRONG], 1 - rates[..., RIGHT]], axis=1)

    return statistic


def cell_sums(
    judgments: pd.DataFrame, conditions: Sequence[Condition], classes: np.ndarray | None = None, bins: int = 1
) -> np.ndarray:
    """What each judgment adds: [right, 1] in its cell of (conditions, labels, bins); shape (judgments, 2 * cells)."""
    place = {c: i for i, c in enumerate(conditions)}
    cell = np.array([place[c] for c in judgments.condition]) * 2 + judgments.correct.to_numpy(dtype=int)
    cell = cell * bins + (0 if classes is None else classes)
    cells, rows = len(conditions) * 2 * bins, np.arange(len(judgments))
    sums = np.zeros((len(judgments), 2 * cells))
    sums[rows, cell] = judgments.right.to_numpy(dtype=float)
    sums[rows, cells + cell] = 1
    return sums


def time_sums(
    judgments: pd.DataFrame, conditions: Sequence[Condition], classes: np.ndarray | None = None, bins: int = 1
) -> np.ndarray:
    """What each judgment adds: [seconds, 1] in its cell of (conditions, bins), nothing where the time is unknown.

    Shape (judgments, 2 * cells).
    """
    place = {c: i for i, c in enumerate(conditions)}
    cell = np.array([place[c] for c in judgments.condition]) * bins + (0 if classes is None else classes)
    cells, rows = len(conditions) * bins, np.arange(len(judgments))
    seconds = judgments.seconds.to_numpy(dtype=float)
    sums = np.zeros((len(judgments), 2 * cells))
    sums[rows, cell] = np.nan_to_num(seconds)
    sums[rows, cells + cell] = ~np.isnan(seconds)
    return sums


def judgment_intervals(
    judgments: pd.DataFrame, sums: np.ndarray, statistic: Statistic, rules: AnalysisRules, purpose: str
) -> Intervals:
    """Intervals of `statistic(sums over judgments)`, clustered by rater and by problem."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return clustered_intervals(
            sums,
            judgments.rater.to_numpy(dtype=str),
            judgments.problem_id.to_numpy(dtype=str),
            statistic,
            resamples=rules.bootstrap,
            confidence_level=rules.confidence_level,
            rng=stream(rules.seed, "judging", purpose),
        )


def estimate(found: Intervals, i: int, rows: pd.DataFrame, rules: AnalysisRules, *, share: bool = False) -> Interval:
    """Number i with its interval; `rows` are the judgments behind it. Shares stay in [0, 1].

    Where no resample moves a number that is no share, too little stands behind it to say how sure it is.
    """
    value, low, high = (float(x[i]) for x in (found.value, found.low, found.high))
    if share and value in (0.0, 1.0):
        low, high = share_interval(value, min(rows.rater.nunique(), rows.problem_id.nunique()), rules.confidence_level)
    elif share:
        low, high = np.clip([low, high], 0, 1)
    elif low == high:
        low = high = float("nan")
    return Interval(value=number(value), low=number(low), high=number(high))
