"""Scripts end as the commands do: one line for what the user can mend, a traceback for what is a fault of ours."""

from __future__ import annotations

import sys

import pytest

from legibility.errors import GateClosed, UserError
from legibility.script import run_script
from tests.support import ROOT


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UserError("size: unknown"), "error: size: unknown\n", 2),
        (GateClosed("too few pairs"), "error: too few pairs\n", 3),
        (FileNotFoundError(2, "No such file or directory", "x.json"), "error: x.json", 2),
    ],
)
def test_what_the_user_can_mend_is_a_line(error, line, code, monkeypatch, capsys):
    def main() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["script.py"])
    with pytest.raises(SystemExit) as ended:
        run_script(main)
    said = capsys.readouterr().err
    assert ended.value.code == code and said.startswith(line) and said.count("\n") == 1


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def main() -> None:
        raise KeyError("x")

    monkeypatch.setattr(sys, "argv", ["script.py"])
    with pytest.raises(KeyError):
        run_script(main)


def test_every_script_that_typer_reads_ends_so():
    scripts = [*ROOT.glob("scripts/*.py"), *ROOT.glob("benchmarks/*.py")]
    assert scripts and not [p.name for p in scripts if "typer.run(" in p.read_text(encoding="utf-8")]
