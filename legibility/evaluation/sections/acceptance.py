"""Completeness, soundness and g-mean of judges on every arm's honest text, not on a verifier's own round alone.

Three judges read an arm: the held-out judge and the game's last verifier, the same for all arms, and the arm's reader,
which has learnt from what the arm wrote (`game.readers`). Thresholds are as in legibility.evaluation.sections.soundness.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from legibility.evaluation.reading_schema import AcceptanceRow
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections.soundness import g_mean_squared
from legibility.evaluation.texts import helpful_correct, honest, valid
from legibility.game.condition import HELD_OUT_JUDGE, Condition, Judge, reader, verifier
from legibility.stored import Interval


def compute(run: EvaluationRun) -> list[AcceptanceRow]:
    """A row for every arm's honest text and judge that reads it."""
    return [describe(run, condition, judge) for condition, judge in run.progress.each("acceptance", list(_pairs(run)))]


def texts_read(run: EvaluationRun) -> dict[Judge, pd.DataFrame]:
    """The texts (columns problem_id, text) that each judge has to score for this section."""
    anchor = [helpful_correct(run.folder, 0)]
    read: dict[Judge, list[pd.DataFrame]] = {}
    for condition, judge in _pairs(run):
        read.setdefault(judge, list(anchor)).append(valid(run.texts[condition]))
    return {judge: pd.concat([frame[["problem_id", "text"]] for frame in frames]) for judge, frames in read.items()}


def describe(run: EvaluationRun, condition: Condition, judge: Judge) -> AcceptanceRow:
    """The row of an arm's text and a judge."""
    frame = valid(run.texts[condition])
    scores, threshold, problems = run.scores(judge, frame), run.threshold(judge), list(frame.problem_id)
    correct = (frame.verdict == "correct").to_numpy()
    found: dict[str, Interval] = {}
    if not np.isnan(threshold):
        accepted = scores >= threshold
        recall = run.resamples.ratio(problems, accepted & correct, correct)
        fpr = run.resamples.ratio(problems, accepted & ~correct, ~correct)
        found = {
            "recall": recall.interval(),
            "fpr": fpr.interval(),
            "g_mean_squared": g_mean_squared(recall, fpr).interval(),
        }
    return AcceptanceRow(
        arm=condition, judge=judge, pairwise=run.resamples.pairwise(scores, correct, problems).interval(), **found
    )


def _pairs(run: EvaluationRun) -> Iterator[tuple[Condition, Judge]]:
    """Every arm's honest text with the judges that read it."""
    shared = [verifier(run.rounds[-1]), *([HELD_OUT_JUDGE] if HELD_OUT_JUDGE in run.judges else [])]
    for condition in honest(run.texts):
        own = reader(condition.arm) if condition.round >= 0 else None
        for judge in (*shared, *([own] if own in run.readers else [])):
            yield condition, judge
