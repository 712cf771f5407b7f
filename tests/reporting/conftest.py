"""A finished tiny run to report on: one to change, and one that is read once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from legibility.game.run_folder import RunFolder
from legibility.reporting.data import ReportData, read_run


@pytest.fixture
def run(tiny_run, tmp_path) -> RunFolder:
    """A copy of the finished tiny run."""
    return RunFolder(Path(shutil.copytree(tiny_run.path, tmp_path / "tiny")))


@pytest.fixture(scope="module")
def data(tiny_run) -> ReportData:
    """What the report of the tiny run shows."""
    return read_run(tiny_run)
