"""Every script says what it does when asked, and asking writes nothing; what scripts make is what is committed."""

from __future__ import annotations

import os
import runpy
import sys

import pytest
import typer
from typer.testing import CliRunner

from tests.support import ROOT, script

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
KEPT = [ROOT / place for place in ("configs", "data", "docs", "legibility", "benchmarks", "scripts")]


def stamps() -> dict[str, int]:
    """When each file of the repository was last written; compiled modules aside."""
    return {
        os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
        for kept in KEPT
        for folder, _, names in os.walk(kept)
        if "__pycache__" not in folder
        for name in names
    }


def run(name: str, *arguments: str, monkeypatch) -> int | str | None:
    """Run a script as `python scripts/NAME.py` does, in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    monkeypatch.syspath_prepend(ROOT / "scripts")  # as Python does for a script
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / f"{name}.py"), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_given_and_nothing_is_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = stamps()
    assert run(name, "--help", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "Usage" in shown and "--help" in shown
    opening = script(name).main.__doc__ if name != "fetch_assets" else script(name).fetch.__doc__
    assert opening.split()[0] in shown, "the help has no sentence of its own"
    assert run(name, "--no-such-option", monkeypatch=monkeypatch) == 2
    assert stamps() == before and not list(tmp_path.iterdir())


def test_the_sample_is_what_its_script_makes(tmp_path):
    sample = script("make_sample")
    assert sample.SAMPLE.read_text(encoding="utf-8") == sample.sample(), "python scripts/make_sample.py --write"


def test_the_sample_is_written_only_when_asked(tmp_path, monkeypatch, capsys):
    sample = script("make_sample")
    target = tmp_path / "problems.jsonl"
    monkeypatch.setattr(sample, "SAMPLE", target)
    monkeypatch.setattr(sample, "sample", lambda: "{}\n")
    sample.main()
    assert not target.exists() and "--write" in capsys.readouterr().out
    sample.main(write=True)
    assert target.read_text() == "{}\n"
    with pytest.raises(Exception, match="exists"):
        sample.main(out=target)


@pytest.mark.parametrize("name", ["config_reference", "cli_reference", "file_schemas"])
def test_generated_pages_are_written_only_when_asked(name, tmp_path, monkeypatch, capsys):
    made = script(name)
    for place in ("DOCS", "PAGE"):
        if hasattr(made, place):
            monkeypatch.setattr(made, place, tmp_path / "page")
    with pytest.raises(typer.Exit) as differs:
        made.main()
    shown = capsys.readouterr()
    assert differs.value.exit_code == 1 and not list(tmp_path.iterdir())
    assert "+++" in shown.out and "run again with --write" in shown.err
    made.main(write=True)
    assert list(tmp_path.iterdir())
    capsys.readouterr()
    made.main()
    assert "up to date" in capsys.readouterr().out


def test_writing_schemas_removes_those_that_are_none_any_more(tmp_path, monkeypatch):
    schemas = script("file_schemas")
    monkeypatch.setattr(schemas, "DOCS", tmp_path)
    (tmp_path / "Gone.json").write_text("{}")
    schemas.main(write=True)
    assert not (tmp_path / "Gone.json").exists() and (tmp_path / "index.md").is_file()


def test_model_families_refuses_unknown_names():
    families = script("model_families")
    app = typer.Typer()
    app.command()(families.main)
    refused = CliRunner().invoke(app, ["nonsense"])
    assert refused.exit_code == 2 and "nonsense" in refused.output
