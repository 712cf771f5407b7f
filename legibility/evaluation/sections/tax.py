"""Legibility tax against checkability measured four ways, raw and at equal length.

Tax and retained gain as in `legibility.evaluation.summary`. Checkability of an arm's helpful text:
same-problem pairwise accuracy of the run's last verifier and of the held-out judge, step validity
(mean share of written steps that are true; a solution that writes none counts 0: there is nothing to
check), the same standardised by verdict, and human accuracy where judgments were imported. Right solutions
hold truer steps, so a more accurate arm has a higher step validity without being easier to check; standardised
means with a fixed mix of verdicts, half correct and half incorrect, in every arm and round:
    (mean over correct texts + mean over incorrect texts) / 2. Reviewers of the paper call length an
uncontrolled confound, so every figure is also given with the arm's text weighted to the lengths of
the last game round's text (bins at its deciles; bins with fewer than 5 of the arm's texts are left
out on both sides, and `support` is the share of the game's text that remains). The length-penalised
correctness arm ("correctness short") is a second control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Figure, Resamples, combine, share
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import Measured, Tax, TaxArm
from legibility.evaluation.sections.subtlety import StepGrader, step_table
from legibility.game.condition import (
    CORRECTNESS_HALFWAY,
    CORRECTNESS_ONLY,
    GAME,
    HELD_OUT_JUDGE,
    INIT,
    LENGTH_PENALISED,
    START,
    Judge,
    helpful,
    verifier,
)
from legibility.game.human_record import accuracy_of_people
from legibility.stored import Interval

LEAST = 5  # of an arm's texts in a length bin
BINS = 10


@dataclass(frozen=True)
class ArmText:
    """An arm's helpful test text and, per text, what the judges say of it."""

    frame: pd.DataFrame  # columns of solutions.parquet
    scores: dict[str, np.ndarray]  # by measure, each (texts,); nan for invalid text
    validity: np.ndarray  # (texts,); nan for invalid text


def compute(run: EvaluationRun) -> Tax:
    """Accuracy, length and each checkability measure of every arm, raw and length-matched; tax and retained gain."""
    last = helpful(run.rounds[-1])
    honest = [START, *(helpful(index) for index in run.rounds)]
    corners = [c for c in (CORRECTNESS_ONLY, LENGTH_PENALISED) if c in run.texts]
    rivals = [
        c for c in run.texts if not c.sneaky and c.arm not in (INIT, GAME, CORRECTNESS_HALFWAY) and c not in corners
    ]
    judges = {"last_verifier": verifier(run.rounds[-1])}
    if HELD_OUT_JUDGE in run.judges:
        judges["held_out_judge"] = HELD_OUT_JUDGE
    grader = StepGrader(run.problems)
    texts = {c: _arm_text(run, run.texts[c], judges, grader) for c in (*honest, *corners, *rivals)}
    people = accuracy_of_people(run.folder.path)
    arms = {c: _arm(run, text, texts[last], people.get(c)) for c, text in run.progress.each("tax", list(texts.items()))}
    figures: dict[str, Interval] = {}
    if CORRECTNESS_ONLY in texts:
        start, corner, own = (_figures(run, texts[c])["accuracy"] for c in (START, CORRECTNESS_ONLY, last))
        figures["retained_gain"] = combine(lambda s, c, g: share(g - s, c - s), start, corner, own).interval()
    return Tax(
        reference=last,
        arms=arms,
        decoding=run.decoding(),
        step_validity_exact=all(bool(p.steps) for p in run.game.splits.test),
        tax={c: _known(arms[c].accuracy.difference) for c in corners},
        tax_matched={c: _known(arms[c].accuracy.difference_matched) for c in corners},
        **figures,
    )


def length_weights(arm: pd.Series, reference: pd.Series) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights of the arm's texts and of the reference's that make their lengths alike, and the share of the reference kept.

    Bins end at the reference's deciles. Inside a kept bin the reference's texts weigh 1 and the arm's as
    much together as the reference's.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    ours, theirs = np.searchsorted(edges, arm, "left"), np.searchsorted(edges, reference, "left")
    have, want = (np.bincount(b, minlength=len(edges) + 1) for b in (ours, theirs))
    kept = have >= LEAST
    weight = np.where(kept, want / np.maximum(have, 1), 0.0)
    return weight[ours], kept[theirs].astype(float), float(want[kept].sum() / max(want.sum(), 1))


def _arm_text(run: EvaluationRun, frame: pd.DataFrame, judges: Mapping[str, Judge], grader: StepGrader) -> ArmText:
    readable = (frame.verdict != "invalid").to_numpy()
    scores = {name: np.full(len(frame), np.nan) for name in judges}
    for name, judge in judges.items():
        scores[name][readable] = run.scores(judge, frame[readable])
    validity = np.where(readable, step_table(frame, grader).validity.fillna(0.0), np.nan)
    return ArmText(frame, scores, validity)


def _arm(run: EvaluationRun, arm: ArmText, game: ArmText, human: Interval | None) -> TaxArm:
    """The record of one arm; `game` is the last round's text."""
    ours, theirs, support = length_weights(arm.frame.completion_tokens, game.frame.completion_tokens)
    raw, matched, base = _figures(run, arm), _figures(run, arm, ours), _figures(run, game, theirs)
    plain = _figures(run, game)
    measures = {
        name: Measured(
            raw=raw[name].interval(),
            matched=matched[name].interval(),
            difference=(raw[name] - plain[name]).interval(),
            difference_matched=(matched[name] - base[name]).interval(),
        )
        for name in raw
    }
    accuracy, fixed_mix = measures.pop("accuracy"), measures.pop("step_validity_standardised")
    if human is not None:
        measures["human"] = Measured(raw=human)
    return TaxArm(
        mean_length=float(arm.frame.completion_tokens.mean()),
        support=support,
        checkability=measures,
        accuracy=accuracy,
        step_validity_standardised=fixed_mix,
    )


def _figures(run: EvaluationRun, arm: ArmText, weights: np.ndarray | None = None) -> dict[str, Figure]:
    """Accuracy and checkability of an arm, its texts weighted; weights (texts,)."""
    problems, right = list(arm.frame.problem_id), (arm.frame.verdict == "correct").to_numpy()
    readable = ~np.isnan(arm.validity)
    weights = np.ones(len(right)) if weights is None else weights
    inside = [p for p, keep in zip(problems, readable, strict=True) if keep]
    return {
        "accuracy": run.resamples.mean(problems, right, weights),
        **{
            name: run.resamples.pairwise(s[readable], right[readable], inside, weights[readable])
            for name, s in arm.scores.items()
        },
        "step_validity": run.resamples.mean(problems, arm.validity, weights),
        "step_validity_standardised": standardised(run.resamples, problems, arm.validity, right, weights),
    }


def standardised(
    resamples: Resamples, problem_ids: Sequence[str], values: np.ndarray, correct: np.ndarray, weights: np.ndarray
) -> Figure:
    """Mean of values (n,) at half correct and half incorrect text: the mean of the two (weighted) means.

    nan entries are left out; nan where a verdict has no text of weight.
    """
    parts = [resamples.mean(problem_ids, values, weights * (correct == verdict)) for verdict in (True, False)]
    return combine(lambda right, wrong: (right + wrong) / 2, *parts)


def _known(interval: Interval | None) -> Interval:
    return Interval() if interval is None else interval
