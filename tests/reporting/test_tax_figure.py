"""The tax figure's markers: rounds that would cover each other share one."""

from __future__ import annotations

from matplotlib.figure import Figure

from legibility.reporting.tax_figure import _apart


def test_rounds_too_close_to_be_told_apart_share_a_marker() -> None:
    ax = Figure(figsize=(5, 4.4)).subplots()
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    far, near = (0.2, 0.8), [(0.5, 0.5), (0.504, 0.5)]
    found = _apart(ax, [(0, far), (1, near[0]), (2, near[1])])
    assert found == [([0], far), ([1, 2], (0.502, 0.5))]
    assert _apart(ax, [(0, far), (1, near[0])]) == [([0], far), ([1], near[0])]
