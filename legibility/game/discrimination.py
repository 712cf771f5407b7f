"""How well a judge's scores tell correct from incorrect text, pooled and where nothing but truth can tell.

The headline is `same_style`: pairs of a correct and an incorrect text of one problem, one role and one style
(legibility.grading.style). A detector of roles, of easy problems or of style gets one half there, as random scores do
(a text and its repetitions have one verdict, so no pair holds one text twice). Pooled figures are what such detectors
do well on; they stay beside it under their own names. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from legibility.game.condition import BASE_ROLE
from legibility.game.run_records import Discrimination, SameStyle
from legibility.grading.style import Style, style_of
from legibility.metrics import auroc, pair_counts
from legibility.prompts import HELPFUL, ROLES, SNEAKY

PairKey: TypeAlias = tuple[tuple[str, str], Style]
"""Problem and role, and style: what the two texts of a pair share."""


def discrimination(frame: pd.DataFrame, scores: np.ndarray) -> Discrimination:
    """How well scores (n,) tell correct from incorrect in valid text (n rows) of one policy.

    same_style: the headline, as `same_style` says. pooled: AUROC of helpful-correct against sneaky-incorrect (for
    base text: correct against incorrect); helpful, sneaky: AUROC inside that role; within_role: their mean;
    pairwise: pooled same-problem accuracy inside roles. A role detector does well on `pooled`, and a reader of style
    on everything but `same_style`.
    """
    role, correct = frame.role.to_numpy(), _correct(frame)
    inside = {r: auroc(scores[role == r], correct[role == r]) for r in _roles(frame)}
    if set(inside) >= set(ROLES):
        cells = ((role == HELPFUL) & correct) | ((role == SNEAKY) & ~correct)
    else:
        cells = np.ones(len(frame), dtype=bool)
    known = [v for v in inside.values() if not np.isnan(v)]
    won, pairs = (sum(c.values()) for c in pair_counts(scores, correct, _problem_and_role(frame)))
    return Discrimination(
        pooled=auroc(scores[cells], correct[cells]),
        within_role=float(np.mean(known)) if known else None,
        **inside,
        pairwise=won / pairs if pairs else None,
        same_style=same_style(frame, scores),
    )


def same_style(frame: pd.DataFrame, scores: np.ndarray) -> SameStyle:
    """Share of same-problem, same-role, same-style pairs whose correct text scores higher, ties half.

    frame: valid text (n rows); scores (n,). Pairs are pooled over problems and roles, so a problem counts by its
    pairs, as in `pairwise`.
    """
    correct, keys = _correct(frame), list(zip(_problem_and_role(frame), _styles(frame), strict=True))
    won, total = pair_counts(scores, correct, keys)
    _, alike = pair_counts(scores, correct, _problem_and_role(frame))
    pairs, candidates = int(sum(total.values())), int(sum(alike.values()))
    value = sum(won.values()) / pairs if pairs else None
    by_role = {}
    for role in _roles(frame):
        mine = [key for key in total if key[0][1] == role]
        part = sum(total[key] for key in mine)
        by_role[role] = sum(won[key] for key in mine) / part if part else None
    return SameStyle(
        value=value,
        pairs=pairs,
        problems=len({problem for (problem, _), _ in total}),
        coverage=pairs / candidates if candidates else None,
        standard_error=None if value is None else _standard_error(won, total, value),
        **by_role,
    )


def _standard_error(won: Mapping[PairKey, float], total: Mapping[PairKey, float], value: float) -> float:
    """Of the ratio sum(won) / sum(total) over independent problems, linearised: sqrt(sum r²) / sum(total).

    r: a problem's won pairs less `value` times its pairs.
    """
    residual: dict[str, float] = {}
    for key, count in total.items():
        problem = key[0][0]
        residual[problem] = residual.get(problem, 0.0) + won[key] - value * count
    return float(np.sqrt(sum(r * r for r in residual.values())) / sum(total.values()))


def role_and_style(frame: pd.DataFrame) -> list[tuple[str, Style]]:
    """Per text: what besides the problem the two texts of a same-style pair share."""
    return list(zip(frame.role, _styles(frame), strict=True))


def _styles(frame: pd.DataFrame) -> list[Style]:
    return [style_of(text) for text in frame.text]


def _problem_and_role(frame: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(frame.problem_id, frame.role, strict=True))


def _correct(frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(frame.verdict == "correct", dtype=bool)


def _roles(frame: pd.DataFrame) -> Sequence[str]:
    return [r for r in (BASE_ROLE, *ROLES) if (frame.role == r).any()]
