"""Page and figures of a finished experiment."""

from __future__ import annotations

from legibility.reporting.page import UNDEFINED
from legibility.stored import Interval
from legibility.weak_to_strong.experiment_page import accuracy, gap
from legibility.weak_to_strong.pgr import PgrEstimate
from tests.browser import Browser


def test_the_page_has_its_sections_and_figures_and_loads_nothing(finished):
    page = (finished / "report.html").read_text()
    assert (
        "Weak teachers and ceilings" in page
        and "The game as a teacher" in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert {p.name for p in (finished / "figures").iterdir()} == {"students.png", "curves.png", "drift.png"}


def test_nothing_sticks_out_of_the_page_at_any_width(finished, browser: Browser):
    assert browser.faults(finished / "report.html") == []


def test_estimates_in_words():
    assert accuracy(Interval(value=0.5, low=0.25, high=0.755)) == "50.0 [25.0, 75.5]"
    assert accuracy(Interval(value=-0.01, low=-0.1, high=0.1)) == "−1.0 [−10.0, 10.0]"
    assert gap(PgrEstimate(value=1.234, low=-0.5, high=2.0)) == "1.23 [−0.50, 2.00]"
    assert gap(PgrEstimate(undefined="no gap to recover")) == UNDEFINED == accuracy(Interval())
