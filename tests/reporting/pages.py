"""Helpers of the report's tests: a page taken apart, images that are none, and a run cut short."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from html.parser import HTMLParser

from legibility.game.run_folder import RunFolder
from legibility.problems.records import Problem, Step
from legibility.reporting.images import Image

PROBLEM = Problem(
    "p", "Tom has 5 pens and gets 3, then doubles them.", "16", steps=(Step(5, "+", 3, 8), Step(8, "*", 2, 16))
)


class Page(HTMLParser):
    """Tags, attributes that load or run something, and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            place = name == "href" and (value or "").startswith("#")  # on the page itself: it loads nothing
            if name in ("src", "href", "srcset", "poster", "data", "action") and not place:
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, text) -> None:
        self.text += text


def fake_images(names: Iterable[str]) -> dict[str, Image]:
    return {name: Image(600, "data:image/png;base64,AA==", "data:image/png;base64,AA==") for name in names}


def unfinish(run: RunFolder, rounds: int) -> None:
    """Leave as many finished rounds, as if the run had been killed there."""
    (run.path / "summary.json").unlink()
    shutil.rmtree(run.path / "arms")
    shutil.rmtree(run.path / "judge", ignore_errors=True)
    for index in range(rounds, 2):
        shutil.rmtree(run.path / f"rounds/{index:02d}/collection")
