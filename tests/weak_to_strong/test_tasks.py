"""What is classified: halves by problem."""

from __future__ import annotations

from legibility.weak_to_strong.task_settings import PartSizes
from legibility.weak_to_strong.tasks import _halves
from tests.weak_to_strong.world import labelled_items


def test_halves_are_dealt_by_problem_and_anew_per_seed():
    items = labelled_items(60)
    halves = _halves(items, ("weak", "student", "trusted"), PartSizes(weak=100, student=100, trusted=50), 0)
    groups = {name: {x.group for x in part} for name, part in halves.items()}
    assert not (
        groups["weak"] & groups["student"]
        or groups["weak"] & groups["trusted"]
        or groups["student"] & groups["trusted"]
    )
    assert sum(map(len, groups.values())) == 60 and 20 <= len(groups["weak"]) <= 28
    assert {x.group for x in _halves(items, ("weak", "student", "trusted"), PartSizes(), 1)["weak"]} != groups["weak"]
