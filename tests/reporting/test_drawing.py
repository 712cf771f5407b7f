"""What figures share: smoothed lines, labels that keep apart, and colours that do not leak."""

from __future__ import annotations

import math

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure

from legibility.reporting.drawing import DARK, LIGHT, end_labels, series, step_axis, themed


@pytest.fixture
def ax():
    return Figure().subplots()


def test_series_smooths_as_the_stop_rule_does(ax) -> None:
    """By hand, alpha 0.5: 0, then 0.5 * 1 + 0.5 * 0, a gap, then 0.5 * 1 + 0.5 * 0.5."""
    end = series(ax, pd.Series([0.0, 1.0, math.nan, 1.0], index=[1, 2, 3, 4]), 0.5, "#000000", offset=10)
    points, line = ax.lines
    assert end == pytest.approx(0.75)
    assert list(points.get_xdata()) == [11, 12, 13, 14]
    assert list(line.get_ydata()) == pytest.approx([0.0, 0.5, 0.5, 0.75])


def test_a_series_without_values_has_no_end(ax) -> None:
    assert math.isnan(series(ax, pd.Series([math.nan], index=[1]), 0.5, "#000000"))


def test_labels_at_one_height_are_pushed_apart_and_stay_inside(ax) -> None:
    ax.set_ylim(0, 1)
    end_labels(ax, [(1.0, "high", "k"), (1.0, "also high", "k"), (0.2, "low", "k"), (math.nan, "nowhere", "k")])
    places = {text.get_text(): text.xy[1] for text in ax.texts}
    assert set(places) == {"high", "also high", "low"}
    high, also = sorted((places["high"], places["also high"]))
    assert also <= 1.0 + 1e-9 and also - high > 0.02


def test_the_step_axis_leaves_a_margin(ax) -> None:
    step_axis(ax, pd.RangeIndex(1, 101))
    left, right = ax.get_xlim()
    assert (left, right) == pytest.approx((1 - 3, 100 + 3))


def test_a_theme_holds_inside_its_block_only() -> None:
    before = dict(matplotlib.rcParams)
    with themed(DARK):
        assert matplotlib.rcParams["figure.facecolor"] == DARK.background
    assert dict(matplotlib.rcParams) == before


def test_both_themes_have_every_colour() -> None:
    for theme in (LIGHT, DARK):
        assert all(matplotlib.colors.is_color_like(v) for k, v in vars(theme).items() if k != "name")
