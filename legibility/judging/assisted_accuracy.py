"""Does a verifier's doubt help people? Judgments made with the doubts in sight against those made without.

Accuracy assisted less unassisted, over all conditions and in each, by the same raters on the same problems where the
study is assigned by item. The paper did not ask this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from legibility.game.condition import Condition, Judge
from legibility.judging.accuracy import RIGHT, WRONG, cell_sums, estimate, judgment_intervals, time_sums
from legibility.judging.clustered_bootstrap import Intervals
from legibility.judging.protocol import AnalysisRules
from legibility.judging.results_schema import AssistedComparison, AssistedResults
from legibility.judging.study_schema import Assisted
from legibility.stored import Interval

ALONE, HELPED, DIFFERENCE = 0, 1, 2


def assisted_results(
    judgments: pd.DataFrame, conditions: Sequence[Condition], rules: AnalysisRules, *, adviser: Judge, design: Assisted
) -> AssistedResults | None:
    """The comparison; None where only one kind was judged.

    judgments: those of the raters who stay, with rater, problem_id, item_id, condition, correct, right, seconds,
    assisted. adviser: the verifier whose doubts are shown; design: what was assigned.
    """
    conditions = [c for c in conditions if (judgments.condition == c).any()]
    if judgments.assisted.nunique() < 2:
        return None
    helped = judgments.assisted.to_numpy(dtype=int)
    shape = (len(conditions), 2, 2)  # condition, label, assisted
    one_label = np.array([False, *(c.sneaky for c in conditions)])

    def rates(s: np.ndarray) -> np.ndarray:
        """Accuracy, false accept, false reject of all and of every condition: alone, helped, difference."""
        right, n = np.split(s.reshape(len(s), 2, *shape), 2, axis=1)
        with_all = [np.concatenate([x[:, 0].sum(1, keepdims=True), x[:, 0]], axis=1) for x in (right, n)]
        shares = with_all[0] / with_all[1]  # (draws, all and conditions, labels, assisted)
        accuracy = np.where(one_label[:, None], shares[:, :, WRONG], shares.mean(2))
        return _with_difference(np.stack([accuracy, 1 - shares[:, :, WRONG], 1 - shares[:, :, RIGHT]], axis=1))

    def times(s: np.ndarray) -> np.ndarray:
        seconds, n = np.split(s.reshape(len(s), 2, len(conditions), 2), 2, axis=1)
        with_all = [np.concatenate([x[:, 0].sum(1, keepdims=True), x[:, 0]], axis=1) for x in (seconds, n)]
        return _with_difference((with_all[0] / with_all[1])[:, None])

    by_rate = judgment_intervals(judgments, cell_sums(judgments, conditions, helped, 2), rates, rules, "assisted")
    by_time = judgment_intervals(judgments, time_sums(judgments, conditions, helped, 2), times, rules, "assisted times")
    groups = len(conditions) + 1

    def compare(group: int, condition: Condition | None) -> AssistedComparison:
        mine = judgments if condition is None else judgments[judgments.condition == condition]
        sides = (mine[~mine.assisted], mine[mine.assisted], mine)

        def number(found: Intervals, measure: int, side: int, rows: pd.DataFrame) -> Interval:
            place = (measure * groups + group) * 3 + side
            return estimate(found, place, rows, rules, share=side != DIFFERENCE and found is by_rate)

        return AssistedComparison(
            condition=condition,
            judgments_alone=len(sides[ALONE]),
            judgments_assisted=len(sides[HELPED]),
            accuracy_alone=number(by_rate, 0, ALONE, sides[ALONE]),
            accuracy_assisted=number(by_rate, 0, HELPED, sides[HELPED]),
            accuracy_difference=number(by_rate, 0, DIFFERENCE, mine),
            false_accept_difference=number(by_rate, 1, DIFFERENCE, mine),
            false_reject_difference=number(by_rate, 2, DIFFERENCE, mine),
            seconds_difference=number(by_time, 0, DIFFERENCE, mine),
        )

    return AssistedResults(
        adviser=adviser,
        design=design,
        overall=compare(0, None),
        conditions=[compare(1 + i, c) for i, c in enumerate(conditions)],
    )


def _with_difference(numbers: np.ndarray) -> np.ndarray:
    """(draws, measures, groups, 2) -> (draws, measures * groups * 3): alone, helped, helped less alone."""
    both = np.concatenate([numbers, numbers[..., 1:] - numbers[..., :1]], axis=-1)
    return both.reshape(len(numbers), -1)
