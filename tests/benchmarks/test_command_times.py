"""How long commands take: measured on a run, put into the page, and a command that fails says so."""

from __future__ import annotations

import shutil

import command_times
import pytest
from command_times import Step, Took


@pytest.mark.slow
def test_a_command_is_timed_where_it_runs(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "nano")
    (tmp_path / "nano" / "report.html").unlink(missing_ok=True)
    took = command_times.run(Step(("report", "{nano}")), tmp_path / "nano.yaml", tmp_path)
    assert took.command == "legibility report nano" and (tmp_path / "nano" / "report.html").is_file()
    assert took.seconds > 0.5 and took.cpu > 0.5 and took.megabytes > 0
    with pytest.raises(RuntimeError, match=r"legibility report study: .*no run folder here"):
        command_times.run(Step(("report", "{study}")), tmp_path / "nano.yaml", tmp_path)


def test_the_table_stands_in_the_page():
    rows = [Took("legibility report nano", 8.04, 9.96, 1.5), Took("legibility train x.yaml", 59.96 + 360, 700.4, 0)]
    text = command_times.table(rows, "abc")
    assert "| `legibility report nano` | 8.0 s | 10.0 s | 1.5 |" in text and "| 7 min 0 s | 11 min 40 s | 0.0 |" in text
    page = command_times.PAGE.read_text(encoding="utf-8")
    assert text in command_times.put(page, text)
    with pytest.raises(ValueError, match="no place"):
        command_times.put("nothing", text)
