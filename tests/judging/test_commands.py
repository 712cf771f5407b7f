"""The judging commands: what they print, and that each is there."""

from __future__ import annotations

import errno
import os

import pytest

from legibility.errors import UserError
from legibility.judging.export import export_study
from tests.judging.world import made_up_candidates, made_up_study
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


@pytest.mark.parametrize("refusal", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("command", ["simulate-raters", "analyze", "judge", "import", "export"])
def test_what_the_disk_refuses_is_one_line_with_the_path_and_leaves_no_half(tmp_path, monkeypatch, command, refusal):
    study = made_up_study(tmp_path / "study", "exclusion: {max_failed_checks: null}\n", raters=2, per_rater=8)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("item_id,answer,rater\n" + "".join(f"{i},True,anna\n" for i in study.slots[0]))
    if command == "analyze":
        legibility("import", study.path, sheet, "--from", "csv")
    arguments = {
        "judge": (study.path, "--invites", "--port", 0),
        "import": (study.path, sheet, "--from", "csv"),
        "export": ("nothing", "--out", tmp_path / "new"),
    }.get(command, (study.path,))
    before = sorted(tmp_path.rglob("*"))

    def refuse(*_):
        raise OSError(refusal, os.strerror(refusal))

    candidates = made_up_candidates()
    monkeypatch.setattr("legibility.judging.candidates.candidates_of", lambda *_: candidates)
    monkeypatch.setattr("legibility.judging.export._write", refuse)
    monkeypatch.setattr("os.fsync", refuse)
    result = legibility(command, *arguments)
    assert result.code == 2 and result.err.count("\n") == 1 and "Traceback" not in result.err
    assert os.strerror(refusal).lower() in result.err.lower() and str(tmp_path) in result.err
    after = {p for p in set(tmp_path.rglob("*")) - set(before) if not p.is_dir()}
    assert after <= {study.path / "server.jsonl"} and not (tmp_path / "new").exists()


def test_an_export_deletes_nothing_of_the_users(tmp_path):
    kept = tmp_path / ".study.tmp" / "mine"
    kept.parent.mkdir()
    kept.write_text("x")
    made_up_study(tmp_path / "study", raters=2, per_rater=8)
    assert kept.read_text() == "x"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "link", tmp_path / ".."):
        with pytest.raises(UserError, match="--out"):
            export_study(made_up_candidates(), out)


def test_sneaky_conditions_alone_are_no_study(tmp_path):
    with pytest.raises(UserError, match="--conditions: no correct solution among them"):
        made_up_study(tmp_path / "study", conditions=["game:0:sneaky", "game:1:sneaky"], attention=0)
    with pytest.raises(UserError, match="--conditions: no correct solution"):
        made_up_study(tmp_path / "study", conditions=["game:0:sneaky"])
    assert list(tmp_path.iterdir()) == []
