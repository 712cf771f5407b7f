"""How work is dealt out, and a team of one."""

from __future__ import annotations

import os

import torch
from hypothesis import given
from hypothesis import strategies as st

from legibility.team import Team


def where(team: Team) -> tuple[int, int, int]:
    return team.rank, team.size, os.getpid()


def test_alone():
    """One process is a team, inside `together` and outside."""
    team = Team()
    with team.together(team, gradients=3):
        assert team.run(where, team) == [(0, 1, os.getpid())] and team.share([1, 2, 3]) == [1, 2, 3]
        assert team.gather("x") == ["x"] and not team.knows("x")
        numbers = torch.arange(3.0)
        team.add([numbers])
        assert numbers.tolist() == [0.0, 1.0, 2.0]


@given(sizes=st.lists(st.integers(1, 100), max_size=40), workers=st.integers(1, 5))
def test_shares_are_a_partition_of_like_size(sizes, workers):
    items, parts = sorted(sizes), []
    for rank in range(workers):
        team = Team()
        team.rank, team.size = rank, workers
        parts.append(team.share(items))
    assert sorted(x for part in parts for x in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert max(map(sum, parts)) - min(map(sum, parts)) <= 2 * max(items, default=0)
