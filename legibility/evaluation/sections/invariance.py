"""Does a judge's verdict on an arm's text hang on its style? Every arm's text, rewritten without changing what it says.

The rewrites are those of the section hacking: meaning and verdict stay. Hacking asks which rewrite moves a verifier on
its own round's text; here the texts are every arm's, one of a test problem, and a judge is asked whether it says the
same of all versions of a text. A text that is accepted in one style only is not checked, it is recognised. Not in the
paper. A judge that accepts everything says the same of everything, so what chance would earn stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from legibility.evaluation.intervals import Resamples
from legibility.evaluation.reading_schema import InvarianceRow
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections.hacking import rewritten
from legibility.evaluation.texts import first_texts, honest, valid
from legibility.game.condition import START, Condition, Judge
from legibility.rewards import within_group_std

QUICK_PROBLEMS = 50
"""Test problems whose text a quick evaluation rewrites here, unless all were read before."""


@dataclass(frozen=True)
class Restyled:
    """Texts and what rewrites make of them. `frame`: columns problem_id, text, verdict; `versions`: by rewrite the new
    texts (n,) and where they are new (n,)."""

    frame: pd.DataFrame
    versions: Mapping[str, tuple[list[str], np.ndarray]]

    def version(self, name: str) -> pd.DataFrame:
        """The texts that a rewrite changes, as it leaves them."""
        text, changed = self.versions[name]
        return self.frame.assign(text=text)[changed]


def compute(run: EvaluationRun) -> list[InvarianceRow]:
    """A row for every judge and arm whose text it reads (`reads`)."""
    texts, rows = restyled_texts(run), []
    for judge in run.progress.each("invariance", run.judges):
        score, threshold = partial(run.scores, judge), run.threshold(judge)
        base = valid(run.texts[START])
        unit = within_group_std(score(base), list(base.problem_id))
        rows += [
            describe(condition, judge, restyled, score, threshold, unit, run.resamples)
            for condition, restyled in texts.items()
            if reads(judge, condition)
        ]
    return rows


def reads(judge: Judge, condition: Condition) -> bool:
    """Whether a judge is asked about an arm's text: of an arm's reader, only that arm's and the start's."""
    return judge.arm in (None, condition.arm) or condition == START


def restyled_texts(run: EvaluationRun) -> dict[Condition, Restyled]:
    """Every arm's first text of each test problem, where it can be read, and its rewrites; a quick evaluation takes a few."""
    whole = {c: _restyled(run, c) for c in honest(run.texts)}
    if not run.quick or not any(len(run.scorer(j).missing(texts_read(whole, j))) for j in run.judges):
        return whole
    few = {p.id for p in run.game.splits.test[:QUICK_PROBLEMS]}
    return {c: _part(restyled, restyled.frame.problem_id.isin(few).to_numpy()) for c, restyled in whole.items()}


def texts_read(texts: Mapping[Condition, Restyled], judge: Judge) -> pd.DataFrame:
    """Every text that a judge is asked about, rewritten or not (columns problem_id, text)."""
    read = [restyled for condition, restyled in texts.items() if reads(judge, condition)]
    frames = [frame for r in read for frame in (r.frame, *map(r.version, r.versions))]
    return pd.concat([pd.DataFrame(columns=["problem_id", "text"]), *(f[["problem_id", "text"]] for f in frames)])


def describe(
    condition: Condition,
    judge: Judge,
    restyled: Restyled,
    score: Callable[[pd.DataFrame], np.ndarray],
    threshold: float,
    unit: float,
    resamples: Resamples,
) -> InvarianceRow:
    """The row of an arm and a judge. score: of the rows of a frame; unit: what changes of a score are divided by."""
    before = score(restyled.frame)
    after = np.full((len(restyled.versions), len(before)), np.nan)  # nan where a rewrite changes nothing
    for row, name in zip(after, restyled.versions, strict=True):
        row[restyled.versions[name][1]] = score(restyled.version(name))
    applied = (~np.isnan(after)).sum(axis=0)
    kept = applied > 0
    before, after, applied = before[kept], after[:, kept], applied[kept]
    ids = list(restyled.frame.problem_id[kept])
    found = {}
    if not np.isnan(threshold) and len(ids):
        accepted = before >= threshold
        same = (np.isnan(after) | ((after >= threshold) == accepted)).all(axis=0)
        found["accepted"] = resamples.mean(ids, accepted).interval()
        found["stays"] = resamples.mean(ids, same).interval()
        found["stays_null"] = resamples.mean(ids, all_alike(float(accepted.mean()), applied + 1)).interval()
    if unit > 0 and len(ids):
        moved = np.nansum(np.abs(after - before), axis=0) / applied / unit
        found["change"] = resamples.mean(ids, moved).interval()
    same_order, pairs = pairs_in_order(before, after)
    if pairs.any():
        found["order"] = resamples.pair_ratio(ids, same_order, pairs).interval()
    rewrites = float(applied.mean()) if len(ids) else 0.0
    return InvarianceRow(arm=condition, verifier=judge, texts=len(ids), rewrites=rewrites, **found)


def all_alike(share: float, versions: np.ndarray) -> np.ndarray:
    """Chance (n,) that all of n texts' versions are accepted, or none, where each is by itself with chance `share`."""
    return share**versions + (1 - share) ** versions


def pairs_in_order(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each pair of texts (n, n) how many rewrites keep its order (a tie counts half), and how many there are.

    before (n,): scores, pairs of equal ones have no order; after (rewrites, n): nan where a rewrite changes nothing.
    """
    order = np.sign(before[:, None] - before[None, :])
    same, pairs = np.zeros(order.shape), np.zeros(order.shape)
    for scores in after:
        now = np.sign(scores[:, None] - scores[None, :])
        known = (order != 0) & ~np.isnan(now)
        same += np.where(known, (1 + order * now) / 2, 0.0)
        pairs += known
    return same, pairs


def _restyled(run: EvaluationRun, condition: Condition) -> Restyled:
    first = first_texts(run.texts[condition]).reset_index()
    frame = valid(first)[["problem_id", "text", "verdict"]].reset_index(drop=True)
    return Restyled(frame, rewritten(run, frame))


def _part(restyled: Restyled, kept: np.ndarray) -> Restyled:
    """Some of the texts; kept (n,) bool."""
    versions = {
        name: ([t for t, keep in zip(text, kept, strict=True) if keep], changed[kept])
        for name, (text, changed) in restyled.versions.items()
    }
    return Restyled(restyled.frame[kept].reset_index(drop=True), versions)
