"""Who judges what."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.judging.assignment import assign


def test_assignment_never_repeats_a_problem_and_balances_labels(big):
    key = big.key()
    for slot in big.slots:
        mine = key.loc[slot]
        items = mine[mine.kind == "study"]
        assert items.problem_id.is_unique and len(slot) == len(set(slot))
        assert items.correct.sum() * 2 == len(items) == 60
        assert (mine.kind == "attention").sum() == 4
        assert "attention" not in set(mine.kind[:2])
        cells = items.groupby(["arm", "round", "role", "correct"]).size()
        for _, same_label in cells.groupby("correct"):
            assert same_label.max() - same_label.min() <= 3
    orders = {tuple(s) for s in big.slots}
    assert len(orders) == len(big.slots)
    judged = Counter(i for s in big.slots for i in s)
    for label in (True, False):
        counts = [judged[i] for i in key.index[(key.kind == "study") & (key.correct == label)]]
        assert max(counts) - min(counts) <= 2


def test_assignment_refuses_the_impossible(big):
    rng = np.random.default_rng(0)
    for raters, each in ((0, None), (3, 1000), (3, 7)):
        with pytest.raises(UserError):
            assign(big.key_entries(), raters, each, rng)
