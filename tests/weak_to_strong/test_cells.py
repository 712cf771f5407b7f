"""Cells: what they need, and how they are kept."""

from __future__ import annotations

from legibility.weak_to_strong.cells import Cell, with_needs


def test_every_cell_comes_after_what_it_needs():
    far, near, weak = Cell("student", 0, ("a", "b", "c")), Cell("student", 0, ("a", "b")), Cell("weak", 0, ("a",))
    assert with_needs([far, Cell("ceiling", 0, ("c",)), near]) == {
        far: [near],
        Cell("ceiling", 0, ("c",)): [],
        near: [weak],
        weak: [],
    }
