"""Which solutions enter a study: the paper's rules (Kirchner et al. 2024, App. I).

- Of one prover (arm and round, both roles) at most one correct and one incorrect solution per problem.
- A problem whose solutions are all right or all wrong is dropped for that condition: among the
  role's own samples, for the sneaky role among both roles' (it is hardly ever right).
- Half correct, half incorrect. Sneaky conditions contribute incorrect solutions only; the balance
  a rater sees is kept by the assignment.
The paper judged 128 samples per problem; here there are as many as the run's `evaluation.samples`.
Conditions share problems as far as they can, so that they can be compared problem by problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.judging.candidates import Candidates

Cell = tuple[Condition, bool]


@dataclass(frozen=True)
class Selection:
    """`frame`: the chosen rows of the candidates' frame; `notes`: what fell short, in words."""

    frame: pd.DataFrame
    notes: list[str]


def select(
    candidates: Candidates,
    conditions: Sequence[Condition],
    per_condition: int,
    rng: np.random.Generator,
    *,
    length_bins: int | None = None,
) -> Selection:
    """Choose up to `per_condition` solutions of each condition.

    length_bins: number of length classes (quantiles of the characters of all eligible solutions); every
    condition and label then gets the same number of solutions in each of them. Raises UserError for an odd
    or too small number, or where a condition has no eligible problem.
    """
    if per_condition < 2 or per_condition % 2:
        raise UserError(
            f"--per-condition {per_condition}: give an even number, at least 2 (half correct, half incorrect)"
        )
    order = {p: i for i, p in enumerate(rng.permutation(sorted(candidates.frame.problem_id.unique())).tolist())}
    wanted = {(c, label): per_condition if c.sneaky else per_condition // 2 for c in conditions for label in _labels(c)}
    eligible = {cell: _one_each(rows, rng) for cell, rows in _eligible(candidates, conditions, order).items()}
    for (condition, label), rows in eligible.items():
        if rows.empty:
            word = "correct" if label else "incorrect"
            raise UserError(
                f"condition {condition}: no {word} solution of a problem with both right and wrong ones; leave it out of --conditions"
            )
    if length_bins is None:
        chosen = {cell: _first(rows, wanted[cell], order, label=cell[1]) for cell, rows in eligible.items()}
    else:
        chosen = _matched(eligible, wanted, per_condition, order, length_bins)
    notes = [
        f"{condition}, {'correct' if label else 'incorrect'}: {len(rows)} of {wanted[condition, label]} wanted"
        for (condition, label), rows in chosen.items()
        if len(rows) < wanted[condition, label]
    ]
    return Selection(pd.concat(chosen.values()), notes)


def _labels(condition: Condition) -> tuple[bool, ...]:
    return (False,) if condition.sneaky else (True, False)


def _eligible(
    candidates: Candidates, conditions: Sequence[Condition], order: dict[str, int]
) -> dict[Cell, pd.DataFrame]:
    """Rows each cell may draw from. Where both roles of a prover want incorrect solutions, they share out the problems."""
    cells: dict[Cell, pd.DataFrame] = {}
    for c in conditions:
        rows = candidates.rows(c)
        prover = rows
        if c.sneaky:  # it is hardly ever right by itself
            prover = candidates.frame[(candidates.frame.arm == c.arm) & (candidates.frame["round"] == c.round)]
        mixed = prover.groupby("problem_id").correct.nunique()
        rows = rows[rows.problem_id.isin(mixed.index[mixed == 2])]
        for label in _labels(c):
            cells[c, label] = rows[rows.correct == label]
    for c in conditions:
        partner = next((d for d in conditions if (d.arm, d.round) == (c.arm, c.round) and not d.sneaky), None)
        if c.sneaky and partner is not None:
            mine, theirs = cells[c, False], cells[partner, False]
            both = set(mine.problem_id) & set(theirs.problem_id)
            to_partner = {p for p in both if order[p] % 3 == 0}  # the sneaky condition needs twice as many
            cells[c, False] = mine[~mine.problem_id.isin(to_partner)]
            cells[partner, False] = theirs[~theirs.problem_id.isin(both - to_partner)]
    return cells


def _one_each(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One random row per problem."""
    return rows.iloc[rng.permutation(len(rows))].drop_duplicates("problem_id")


def _first(rows: pd.DataFrame, count: int, order: dict[str, int], *, label: bool) -> pd.DataFrame:
    """The first `count` problems in the common order; incorrect solutions from its end, so that raters (who see
    a problem once) find enough different problems."""
    ranks = rows.problem_id.map(order)
    return rows.loc[ranks.sort_values(ascending=label).index[:count]]


def _matched(
    eligible: dict[Cell, pd.DataFrame], wanted: dict[Cell, int], per_condition: int, order: dict[str, int], bins: int
) -> dict[Cell, pd.DataFrame]:
    """As many of each length class in every cell (twice as many where twice as many are wanted)."""
    lengths = {cell: rows.text.str.len() for cell, rows in eligible.items()}
    edges = np.quantile(np.concatenate([v.to_numpy() for v in lengths.values()]), np.linspace(0, 1, bins + 1)[1:-1])
    classes = {cell: pd.Series(np.searchsorted(edges, v), index=v.index) for cell, v in lengths.items()}
    half = per_condition // 2
    times = {cell: wanted[cell] // half for cell in eligible}
    room = [min(int((classes[cell] == b).sum()) // times[cell] for cell in eligible) for b in range(bins)]
    take = [0] * bins
    while sum(take) < half and any(t < r for t, r in zip(take, room, strict=True)):
        b = min((b for b in range(bins) if take[b] < room[b]), key=lambda b: take[b])
        take[b] += 1
    if not sum(take):
        raise UserError(
            "--length-match: no length class holds solutions of every condition; leave conditions out, or match in the analysis"
        )
    return {
        cell: pd.concat(
            [_first(rows[classes[cell] == b], take[b] * times[cell], order, label=cell[1]) for b in range(bins)]
        )
        for cell, rows in eligible.items()
    }
