"""Parts: balance, overlap, one class."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.errors import UserError
from legibility.weak_to_strong.items import Item, Parts, balanced, check_parts
from tests.weak_to_strong.world import labelled_items


def test_balance_holds_inside_every_source():
    items = labelled_items(60)
    items += [
        Item(f"s{k}", x.group, x.problem, (x.texts[0] + " ",), x.label, "sneaky 0") for k, x in enumerate(items[:10])
    ]
    chosen = balanced(items, 40, np.random.default_rng(0), within_source=True)
    for source in ("base", "sneaky 0"):
        mine = [x for x in chosen if x.source == source]
        assert sum(x.label for x in mine) * 2 == len(mine)
    assert len([x for x in chosen if x.source == "sneaky 0"]) == 10 and len(chosen) == 40


def parts(**changes) -> Parts:
    items = labelled_items(5)
    found = {n: items[2 * k : 2 * k + 2] for k, n in enumerate(("weak", "student", "trusted", "validation", "test"))}
    return Parts(**{**found, **changes})


def test_parts_that_leak_or_have_one_class_are_refused():
    check_parts(parts(), "here")
    good = parts()
    with pytest.raises(UserError, match="must not overlap"):
        check_parts(parts(student=good.weak), "here")
    renamed = [Item("x", "other group", good.weak[0].problem, ("#### 1",), True), *good.student]
    with pytest.raises(UserError, match="weak part and in the student part"):
        check_parts(parts(student=renamed), "here")
    with pytest.raises(UserError, match="one class"):
        check_parts(parts(test=good.test[:1]), "here")
