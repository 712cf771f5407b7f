"""A log is added to, a line an event, and what is no log is left alone."""

from __future__ import annotations

import re

import pytest

from legibility.errors import UserError
from legibility.log_file import LogFile


def test_sessions_follow_one_another_a_line_an_event(tmp_path):
    for event in ("one", "two\nlines \x1b[31m"):
        log = LogFile(tmp_path / "log", ["legibility", "train"])
        log.add(event)
        log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.startswith("# legibility log: legibility train, process ") for line in lines] == [True, False] * 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  one", lines[1]) and lines[3].endswith(r"two\nlines \x1b[31m")


def test_another_file_is_not_added_to(tmp_path):
    (tmp_path / "mine.yaml").write_text("seed: 3\n")
    (tmp_path / "empty").touch()
    LogFile(tmp_path / "empty", ["x"]).close()
    for name in ("mine.yaml", "."):
        with pytest.raises(UserError, match="choose another --log-file"):
            LogFile(tmp_path / name, ["x"])
    assert (tmp_path / "mine.yaml").read_text() == "seed: 3\n"
    with pytest.raises(OSError):
        LogFile(tmp_path / "nowhere/log", ["x"])
