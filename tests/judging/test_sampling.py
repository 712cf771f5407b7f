"""What enters a study: the paper's rules, equal lengths, and what falls short."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.judging.sampling import select


@pytest.mark.parametrize("bins", [None, 3])
def test_the_papers_sampling_rules(candidates, bins):
    conditions = candidates.conditions
    assert [str(c) for c in conditions] == [
        "init:-1:base",
        "game:0:helpful",
        "game:0:sneaky",
        "game:1:helpful",
        "game:1:sneaky",
        "correctness:0:helpful",
    ]
    chosen = select(candidates, conditions, 20, np.random.default_rng(0), length_bins=bins).frame
    per_prover = chosen.groupby(["arm", "round", "problem_id", "correct"]).size()
    assert per_prover.max() == 1  # both roles of a round are one prover
    for c in conditions:
        mine = chosen[(chosen.arm == c.arm) & (chosen["round"] == c.round) & (chosen.role == c.role)]
        labels = (0, 20) if c.role == "sneaky" else (10, 10)
        assert ((mine.correct).sum(), (~mine.correct).sum()) == labels
        rows = candidates.frame[(candidates.frame.arm == c.arm) & (candidates.frame["round"] == c.round)]
        rows = rows if c.role == "sneaky" else rows[rows.role == c.role]
        mixed = {p for p, g in rows.groupby("problem_id") if 0 < g.correct.sum() < len(g)}
        assert set(mine.problem_id) <= mixed  # all right or all wrong: dropped


def test_length_match_gives_every_cell_the_same_lengths(candidates):
    free = select(candidates, candidates.conditions, 20, np.random.default_rng(0)).frame
    matched = select(candidates, candidates.conditions, 20, np.random.default_rng(0), length_bins=3).frame

    def spread(frame):
        lengths = frame.text.str.len().groupby([frame.arm, frame["round"], frame.role, frame.correct]).mean()
        return lengths.max() - lengths.min()

    assert spread(matched) < 0.5 * spread(free)


def test_short_cells_are_filled_as_far_as_they_go_and_said(candidates):
    found = select(candidates, candidates.conditions, 120, np.random.default_rng(0))
    assert found.notes and all(" of " in n for n in found.notes)
    with pytest.raises(UserError, match="even number"):
        select(candidates, candidates.conditions, 7, np.random.default_rng(0))
