"""What the frontier holds against accuracy: measures of how well an arm's honest text can be checked or followed.

Each is a number of one run, read from sections that `legibility evaluate` has written (docs/metrics.md has the
definitions). A measure that a run does not have is left out for that run, never filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Literal

from legibility.evaluation.attack_schema import RobustnessRow
from legibility.evaluation.schema import Evaluation
from legibility.game.condition import HELD_OUT_JUDGE, Condition, Judge, reader
from legibility.stored import Interval

Kind = Literal["judge", "reader", "text", "people"]
"""Who or what a measure asks: a trained judge; a model that reads or goes on with the text; the text alone; people."""


@dataclass(frozen=True)
class Measure:
    """A measure called `label`; `of` finds its value for a condition, None where the run has none. All are better higher."""

    name: str
    label: str
    kind: Kind
    of: Callable[[Evaluation, Condition], float | None]
    rate: bool = True


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


def accuracy(evaluation: Evaluation, condition: Condition) -> float | None:
    """Share of correct answers among the condition's test text."""
    arm = evaluation.tax.arms.get(condition) if evaluation.tax else None
    return None if arm is None else arm.accuracy.raw.value


def length(evaluation: Evaluation, condition: Condition) -> float | None:
    """Mean completion length in tokens."""
    arm = evaluation.tax.arms.get(condition) if evaluation.tax else None
    return None if arm is None else arm.mean_length


def _checked(evaluation: Evaluation, condition: Condition, name: str, *, matched: bool) -> float | None:
    arm = evaluation.tax.arms.get(condition) if evaluation.tax else None
    found = arm.checkability.get(name) if arm else None
    return None if found is None else _value(found.matched if matched else found.raw)


def _steps(evaluation: Evaluation, condition: Condition) -> float | None:
    arm = evaluation.tax.arms.get(condition) if evaluation.tax else None
    found = arm.step_validity_standardised if arm else None
    return None if found is None else found.raw.value


def _accepted(evaluation: Evaluation, condition: Condition, judge: Judge | None, name: str) -> float | None:
    """A figure of acceptance.json; judge None: the arm's own reader."""
    wanted = judge or reader(condition.arm)
    rows = evaluation.acceptance or ()
    row = next((row for row in rows if row.arm == condition and row.judge == wanted), None)
    return None if row is None else _value(getattr(row, name))


def _refused(evaluation: Evaluation, condition: Condition) -> float | None:
    """Share of fresh attackers' incorrect text that the arm's reader refuses: 1 - false-positive rate.

    Mean over rewards of the mean over attacks, at the most PPO steps that all attacks on readers have reached.
    """
    rows = [row for row in evaluation.reader_robustness or () if row.at == "steps" and row.fpr is not None]
    reached = [{row.target for row in rows if _attack(row) == attack} for attack in {_attack(row) for row in rows}]
    shared = set.intersection(*reached) if reached else set()
    if not shared:
        return None
    own: dict[str, list[float]] = {}
    for row in rows:
        if row.reader == condition.arm and row.target == max(shared) and row.fpr is not None:
            own.setdefault(row.reward, []).append(1 - row.fpr)
    return fmean(fmean(values) for values in own.values()) if own else None


def _attack(row: RobustnessRow) -> tuple[str | None, str, int]:
    return row.reader, row.reward, row.seed


def _handed_over(evaluation: Evaluation, condition: Condition, name: str) -> float | None:
    row = next((row for row in evaluation.handoff or () if row.arm == condition), None)
    return None if row is None else _value(getattr(row, name))


def _sufficient(evaluation: Evaluation, condition: Condition, name: str) -> float | None:
    row = next((row for row in evaluation.sufficiency or () if row.arm == condition), None)
    return None if row is None else _value(getattr(row, name))


def _order_kept(evaluation: Evaluation, condition: Condition) -> float | None:
    rows = evaluation.invariance or ()
    row = next((row for row in rows if row.arm == condition and row.verifier == HELD_OUT_JUDGE), None)
    return None if row is None else _value(row.order)


MEASURES: tuple[Measure, ...] = (
    Measure("judge", "held-out judge", "judge", partial(_checked, name="held_out_judge", matched=False)),
    Measure(
        "judge_matched",
        "held-out judge, at equal length",
        "judge",
        partial(_checked, name="held_out_judge", matched=True),
    ),
    Measure("verifier", "the game's last verifier", "judge", partial(_checked, name="last_verifier", matched=False)),
    Measure(
        "judge_g_mean",
        "held-out judge, g-mean²",
        "judge",
        partial(_accepted, judge=HELD_OUT_JUDGE, name="g_mean_squared"),
    ),
    Measure("reader", "the arm's reader", "judge", partial(_accepted, judge=None, name="pairwise")),
    Measure(
        "reader_g_mean", "the arm's reader, g-mean²", "judge", partial(_accepted, judge=None, name="g_mean_squared")
    ),
    Measure("refused", "attackers refused by the arm's reader", "judge", _refused),
    Measure("steps", "step validity at half correct text", "text", _steps),
    Measure("robustness", "handoff robustness", "reader", partial(_handed_over, name="robustness")),
    Measure("utility", "transfer utility", "reader", partial(_handed_over, name="utility"), rate=False),
    Measure("sufficiency", "sufficiency of the steps", "reader", partial(_sufficient, name="own")),
    Measure("follows", "the answer follows from the steps", "text", partial(_sufficient, name="follows")),
    Measure("order", "held-out judge: order kept in another style", "judge", _order_kept),
    Measure("people", "people", "people", partial(_checked, name="human", matched=False)),
)
"""Every measure, in the order of reports."""
