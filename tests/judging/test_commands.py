"""The judging commands: what they print, and that each is there."""

from __future__ import annotations

import pytest

from tests.judging.world import made_up_study
from tests.support import legibility


@pytest.mark.parametrize("command", ["export", "judge", "import", "analyze", "simulate-raters"])
def test_the_commands_explain_themselves(command):
    result = legibility(command, "--help")
    assert result.code == 0 and "study" in result.out.lower()


def test_simulating_and_analysing_tell_what_comes_next(tmp_path):
    study = made_up_study(tmp_path / "study", "analysis: {bootstrap: 100}\n", raters=8)
    result = legibility("simulate-raters", study.path, "--accuracy", "0.9")
    assert result.out.splitlines()[-1] == f"next: legibility analyze {study.path} --simulated"
    result = legibility("analyze", study.path, "--simulated")
    lines = result.out.splitlines()
    assert lines[0].startswith("SIMULATION, not people. ") and "raters" in lines[0]
    assert sum(": accuracy " in line for line in lines) == 6  # one per condition
    assert lines[-1] == f"results: {study.path / 'simulation/analysis/results.html'}"
