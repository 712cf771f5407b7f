"""Environments of other trainers, and workers that fail in them."""

from __future__ import annotations

import json
import sys

import pytest
from harness import environments

from legibility.errors import UserError


def test_environment_is_used_again_and_never_replaces_what_is_not_one(tmp_path):
    folder = tmp_path / "trl-1.16.0"
    (folder / "bin").mkdir(parents=True)
    (folder / "precious.txt").touch()
    with pytest.raises(UserError, match="is in the way"):
        environments.environment(tmp_path, "1.16.0")
    assert (folder / "precious.txt").exists()
    (folder / "bin" / "python").touch()
    (folder / environments.STAMP).write_text(json.dumps(["trl==1.16.0", *environments.COMMON]), encoding="utf-8")
    assert environments.environment(tmp_path, "1.16.0") == folder / "bin" / "python"


def test_failing_worker_shows_its_last_words(tmp_path):
    with pytest.raises(UserError, match="No module named"):
        environments.run_module(sys.executable, "harness.none", [], tmp_path, 1)
