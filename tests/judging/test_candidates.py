"""What a study can be made of, and which conditions are asked for."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from legibility.game.condition import Condition
from legibility.judging.candidates import chosen_conditions


def test_conditions_are_checked(candidates):
    assert chosen_conditions(candidates, ["game:1:helpful"]) == [Condition("game", 1, "helpful")]
    for bad in (["game:9:helpful"], ["game"], ["game:0:helpful", "game:0:helpful"]):
        with pytest.raises(UserError):
            chosen_conditions(candidates, bad)
