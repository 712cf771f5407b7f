"""Page and figures of a finished experiment."""

from __future__ import annotations


def test_report_and_figures(finished):
    page = (finished / "report.html").read_text()
    assert (
        "Weak teachers and ceilings" in page
        and "The game as a teacher" in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert {p.name for p in (finished / "figures").iterdir()} == {"pgr.png", "curves.png", "drift.png"}
