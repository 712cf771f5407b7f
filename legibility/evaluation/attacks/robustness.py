"""Robustness: what a frozen verifier accepts of a fresh attacker's incorrect text, at equal steps and at equal KL.

The false-positive rate at fixed recall needs no success criterion and no step cap, so it compares verifiers where
steps to exploit are censored. It rests on the text that the attacker wrote while it was trained (`attack.window`
steps of it), which the verifier has scored already: nothing is sampled for it. Not in the paper, whose Fig. 6a
gives steps to exploit (legibility.evaluation.attacks.survival).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from legibility.evaluation.attack_schema import RobustnessRow
from legibility.evaluation.finished_attacks import FinishedAttack, attacks_on_readers, finished_attacks
from legibility.evaluation.intervals import Resamples
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import arm_validation, of_verdict
from legibility.game.condition import reader, verifier
from legibility.game.solutions import read_solutions
from legibility.prompts import HELPFUL
from legibility.randomness import stream
from legibility.stored import Interval

LEAST = 20  # incorrect texts below which no rate is given
FIRST_KL = 0.25  # nats


@dataclass(frozen=True)
class Point:
    """Where a rate is taken: `target` steps or nats, reached by the window that ends at `step`."""

    at: Literal["steps", "kl"]
    target: float
    step: int


def points(kl: np.ndarray, window: int, equal_steps: int | None = None) -> list[Point]:
    """Where an attack is read. kl (steps,): KL from its start at each PPO step.

    After window, 2 window, 4 window ... steps, and after the `equal_steps` that all attacks of a plan make; and at 0.25, 0.5, 1, 2 ... nats, where the mean KL of a window is
    there for the first time (nothing for what the first window has passed already).
    """
    steps = len(kl)
    ladder = set(takewhile(lambda s: s <= steps, _doubled(window)))
    if equal_steps is not None and window <= equal_steps <= steps:
        ladder.add(equal_steps)
    found = [Point("steps", s, int(s)) for s in sorted(ladder)]
    if steps < window:
        return found
    means = np.convolve(
        kl, np.full(window, 1 / window), mode="valid"
    )  # of the windows that end at window, window + 1 ...
    for target in takewhile(lambda nats: nats <= means.max(), _doubled(FIRST_KL)):
        first = int(np.argmax(means >= target))
        if first > 0:
            found.append(Point("kl", target, window + first))
    return found


def false_positive_rates(run: EvaluationRun) -> list[RobustnessRow]:
    """The rows of every finished attack that made at least a window of steps. Raises UserError for changed files."""
    rows: list[RobustnessRow] = []
    for made in finished_attacks(run.folder):
        judge = verifier(made.record.verifier)
        fixed, own = run.threshold(judge), run.threshold(judge, made.record.verifier)
        if not np.isnan([fixed, own]).any():
            rows += _rows(run, made, fixed, own)
    return rows


def rates_of_readers(run: EvaluationRun) -> list[RobustnessRow]:
    """The same of attacks on readers; `own_round` is held against the arm's own helpful-correct validation text."""
    rows: list[RobustnessRow] = []
    for made in attacks_on_readers(run.folder):
        arm = str(made.record.reader)
        text = arm_validation(run.folder, arm)
        own = run.accepts_from(reader(arm), of_verdict(text[text.role == HELPFUL], "correct"))
        fixed = run.threshold(reader(arm))
        if not np.isnan([fixed, own]).any():
            rows += _rows(run, made, fixed, own)
    return rows


def _rows(run: EvaluationRun, made: FinishedAttack, fixed: float, own: float) -> Iterator[RobustnessRow]:
    folder, record, settings = run.folder.verified(made.phase), made.record, run.settings
    frame = read_solutions(folder / "solutions.parquet")
    frame = of_verdict(frame[frame.phase == "ppo"], "incorrect")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    kl = np.array([json.loads(line)["kl"] for line in lines], dtype=float)
    window = settings.attack.window
    for point in points(kl, window, record.equal_steps):
        text = frame[(frame.step > point.step - window) & (frame.step <= point.step)]
        key = (record.reader or record.verifier, record.reward, record.seed, point.step)
        rate = partial(
            accepted_share,
            text,
            resamples=settings.evaluation.bootstrap,
            confidence_level=settings.evaluation.confidence_level,
        )
        found = rate(fixed, rng=stream(run.config.seed, "robustness", *key))
        yield RobustnessRow(
            verifier=record.verifier,
            reader=record.reader,
            reward=record.reward,
            seed=record.seed,
            at=point.at,
            target=point.target,
            steps=point.step,
            kl=float(kl[point.step - window : point.step].mean()),
            fpr=found.value,
            low=found.low,
            high=found.high,
            own_round=rate(own, rng=stream(run.config.seed, "robustness", *key)),
            texts=len(text),
            problems=int(text.problem_id.nunique()),
            window=window,
            recall=settings.evaluation.recall,
        )


def accepted_share(
    text: pd.DataFrame, threshold: float, *, resamples: int, confidence_level: float, rng: np.random.Generator
) -> Interval:
    """Share of incorrect texts (columns problem_id, score) that score at least the threshold, bounds over problems.

    All null below 20 texts. Where none or all are accepted every resample says the same, so the bound is the exact
    (Clopper–Pearson) one of as many independent trials as there are problems.
    """
    if len(text) < LEAST:
        return Interval()
    problems = list(text.problem_id)
    accepted = text.score.to_numpy() >= threshold
    value, count = float(accepted.mean()), text.problem_id.nunique()
    if value in (0.0, 1.0):
        tail = (1 - confidence_level) / 2
        edge = float(stats.beta.ppf(tail, count, 1))  # of `count` out of `count`
        return Interval(value=value, low=value * edge, high=1.0 if value else 1 - edge)
    drawn = Resamples.multinomial(problems, resamples=resamples, confidence_level=confidence_level, rng=rng)
    return drawn.mean(problems, accepted).interval()


def _doubled(first: float) -> Iterator[float]:
    while True:
        yield first
        first *= 2
