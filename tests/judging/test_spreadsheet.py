"""No cell that the package writes is a formula."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest

from legibility.judging.spreadsheet import inert, inert_csv


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "\rx", "\n=x", "＝1+1", "－1", "\ufeff=1", "\u200b =1", "\x00=1"],
)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe_once(text):
    assert inert(text) == f"'{text}" and inert(inert(text)) == f"'{text}"


@pytest.mark.parametrize("text", ["", "anna", "1 = 1", "'=1", "2026-01-01T00:00:00Z"])
def test_other_text_stays(text):
    assert inert(text) == text


def test_numbers_of_a_table_stay_numbers():
    frame = pd.DataFrame({"name": ["=x", "y"], "difference": [-0.5, None], "count": pd.array([-1, None], "Int64")})
    rows = list(csv.reader(io.StringIO(inert_csv(frame))))
    assert rows == [["name", "difference", "count"], ["'=x", "-0.5", "-1"], ["y", "", ""]]
    assert inert_csv(frame[:0]) == "name,difference,count\n"
