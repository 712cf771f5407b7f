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


def test_escape_codes_of_other_people_reach_the_terminal_as_text(tmp_path):
    """In a cell, in a rater's name and in the path of the study: nothing is printed that a terminal obeys."""
    study = made_up_study(tmp_path / "st\x1b[2Judy", "exclusion: {max_failed_checks: null}\n", raters=2, per_rater=8)
    items = study.slots[0]
    sheet = tmp_path / "sheet\x1b]0;t\x07.csv"
    rows = [f"{items[0]},\x1b[31mred,anna", "\u202enothing,True,anna", *(f"{i},True,b\x1b[8men" for i in items[1:])]
    sheet.write_text("item_id,answer,rater\n" + "\n".join(rows) + "\n", encoding="utf-8")
    said = legibility("import", study.path, sheet, "--from", "csv")
    assert said.code == 0 and "\\x1b[31mred" in said.err and "\\u202enothing" in said.err
    analysed = legibility("analyze", study.path)
    assert analysed.code == 0 and "st\\x1b[2Judy" in analysed.out
    for text in (said.out, said.err, analysed.out):
        assert text and not {"\x1b", "\x07", "\u202e"} & set(text)
