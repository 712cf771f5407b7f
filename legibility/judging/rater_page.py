"""The judging page: one HTML file with its style and script inside, the same for the server and from disk.

Solutions are untrusted model text. They are data (never part of the markup), are shown with
`textContent` only, with control and direction characters made visible, and the page's content policy
allows exactly this script and this style and no request but to the page's own server.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from legibility.judging.study_folder import StudyFolder
from legibility.judging.study_schema import DoubtMark

SERVED, DISK = "served", "disk"


def served_page() -> str:
    """The page as the server sends it: no item and no instruction in it, all of that comes by request."""
    return _render({"mode": SERVED}, connect="'self'")


def disk_page(study: StudyFolder) -> str:
    """The page with all (blinded) items inside, to be opened from disk; answers are saved with a button."""
    items = {i.item_id: {"problem": i.problem, "solution": i.solution} for i in study.items.values()}
    data = {"mode": DISK, "protocol": study.protocol.public(), "items": items, "slots": study.slots}
    data["doubts"] = {item_id: plain_marks(marks) for item_id, marks in study.doubts.items()}
    data["assisted"] = [sorted(shown) for shown in study.assisted]
    return _render(data, connect="'none'")


def plain_marks(marks: Iterable[DoubtMark]) -> list[tuple[int, int, int]]:
    """What the page shades: start, end (in code points) and level of every mark."""
    return [(m.start, m.end, m.level) for m in marks]


def policy(connect: str = "'self'") -> str:
    """The content security policy, with the hashes of script and style."""
    return (
        f"default-src 'none'; script-src '{_hash('rater_page.js')}'; style-src '{_hash('rater_page.css')}'; connect-src {connect}; "
        "base-uri 'none'; form-action 'none'"
    )


def _render(data: dict[str, Any], connect: str) -> str:
    environment = Environment(loader=PackageLoader("legibility.judging"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("rater_page.html.j2").render(
        data=data, style=_asset("rater_page.css"), script=_asset("rater_page.js"), policy=policy(connect)
    )


@cache
def _asset(name: str) -> str:
    return (files("legibility.judging") / "templates" / name).read_text(encoding="utf-8")


def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode()
