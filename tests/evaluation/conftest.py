"""Tiny runs to evaluate."""

from __future__ import annotations

import shutil

import pytest

from legibility.game.run_folder import RunFolder
from tests.evaluation.helpers import SMALL
from tests.support import legibility


@pytest.fixture
def copied(tiny_run, tmp_path) -> RunFolder:
    """A tiny run of one's own."""
    shutil.copytree(tiny_run.path, tmp_path / "tiny")
    return RunFolder.existing(tmp_path / "tiny")


@pytest.fixture(scope="session")
def evaluated(tiny_run, tmp_path_factory) -> RunFolder:
    """A tiny run after `legibility evaluate RUN --quick`. Read only."""
    path = tmp_path_factory.mktemp("evaluated") / "tiny"
    shutil.copytree(tiny_run.path, path)
    result = legibility("evaluate", path, "--quick", *SMALL)
    assert result.code == 0, result
    return RunFolder.existing(path)
