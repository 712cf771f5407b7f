"""scripts/same_runs.py: two folders of one game are the same; a byte, a file more or nothing at all is not."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support import ROOT


def compare(before, after) -> tuple[int, str]:
    command = [sys.executable, ROOT / "scripts/same_runs.py", before, after]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout


@pytest.fixture
def folders(tmp_path):
    """A made-up run folder and its copy."""
    first = tmp_path / "before"
    (first / "rounds/00").mkdir(parents=True)
    (first / "rounds/00/model.safetensors").write_bytes(b"weights")
    (first / "rounds/00/metrics.jsonl").write_text('{"step": 1}\n')
    (first / "manifest.json").write_text('{"created": "then"}\n')
    shutil.copytree(first, tmp_path / "after")
    return first, tmp_path / "after"


def test_a_copy_is_the_same_whatever_its_manifest_says(folders):
    (folders[1] / "manifest.json").write_text('{"created": "now"}\n')
    assert compare(*folders) == (0, "2 files the same, 0 different, 0 in one run only\n")


def test_one_byte_of_weights_is_named(folders):
    (folders[1] / "rounds/00/model.safetensors").write_bytes(b"weightz")
    code, out = compare(*folders)
    assert code == 1 and "differs: rounds/00/model.safetensors\n" in out and "1 different" in out


def test_a_file_of_one_run_only_is_named(folders):
    (folders[1] / "rounds/00/metrics.jsonl").unlink()
    code, out = compare(*folders)
    assert code == 1 and f"only in {folders[0]}: rounds/00/metrics.jsonl\n" in out


def test_two_empty_folders_are_no_evidence(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert compare(tmp_path / "a", tmp_path / "b")[0] == 1
