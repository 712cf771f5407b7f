"""Tables in Markdown."""

from __future__ import annotations

from legibility.reporting.markdown import markdown_table


def test_every_row_has_as_many_cells_as_the_header() -> None:
    table = markdown_table(("n", "share"), [(2, "50%"), (16, "–")])
    assert table == "| n | share |\n|---|---|\n| 2 | 50% |\n| 16 | – |"


def test_a_table_without_rows_has_its_header() -> None:
    assert markdown_table(("n",), []) == "| n |\n|---|"
