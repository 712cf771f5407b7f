"""The page of results is filled from files only."""

from __future__ import annotations

import json

import fill_tables
import pytest
from harness import tables

from legibility.errors import UserError
from tests.benchmarks.measured import result_file


def test_page_is_filled_from_files_only(tmp_path):
    page = "a\n<!-- ppo_vs_trl -->\nold 9.9\n<!-- /ppo_vs_trl -->\nb\n"
    assert "Not measured yet" in fill_tables.render(page, tmp_path)
    (tmp_path / "ppo_vs_trl.json").write_text(json.dumps(result_file()), encoding="utf-8")
    filled = fill_tables.render(page, tmp_path)
    assert "old 9.9" not in filled and "5.0×" in filled and filled.startswith("a\n") and filled.endswith("b\n")
    assert fill_tables.render(filled, tmp_path) == filled
    with pytest.raises(UserError, match="no place for"):
        tables.fill("no marks", {"scaling": lambda: "x"})


def test_the_committed_page_is_up_to_date():
    text = fill_tables.PAGE.read_text(encoding="utf-8")
    assert fill_tables.render(text) == text
