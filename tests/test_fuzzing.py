"""A little of the fuzzing that a soak does at length, and planted faults that it must find."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from legibility.errors import UserError
from tests.fuzzing.problem_input import CHECKS, Check, fuzz, refused_well


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_nothing_falls(check: Check, tmp_path: Path) -> None:
    assert fuzz(check, tmp_path, examples=60) >= 60


def test_planted_faults_are_found(tmp_path: Path) -> None:
    def divide(number: int, folder: Path) -> None:
        assert folder == tmp_path
        1 / (number - 7)

    with pytest.raises(ZeroDivisionError):
        fuzz(Check("planted", st.integers(0, 10), divide), tmp_path, examples=100)
    with pytest.raises(AssertionError, match="two"), refused_well():
        raise UserError("one\ntwo")
    with pytest.raises(AssertionError, match="another"), refused_well(tmp_path / "file"):
        raise UserError("another file is bad")
    with pytest.raises(UserError, match="it is bad"), refused_well(tmp_path / "file"):
        raise UserError(f"{tmp_path / 'file'}: it is bad")
