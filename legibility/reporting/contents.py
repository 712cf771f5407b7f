"""A page's contents list: its headings get anchors, and what the list shows is read from them.

The headings stand in the package's own templates, where text from outside is escaped: `<h2>` in a page is a heading.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from markupsafe import Markup

HEADING = re.compile(r"<h([23])>(.*?)</h\1>", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A line of the contents list: the anchor of a section, and its heading."""

    anchor: str
    title: str


@dataclass(frozen=True)
class Anchored:
    """The body of a page whose headings can be linked to, and a line for each of its sections."""

    body: Markup
    contents: list[Entry]


def anchored(body: str) -> Anchored:
    """Give every `<h2>` and `<h3>` of a body an anchor; a sub-heading's begins with its section's."""
    entries: list[Entry] = []
    taken: set[str] = set()

    def linked(found: re.Match[str]) -> str:
        level, heading = found.groups()
        title = html.unescape(re.sub(r"<[^>]*>", "", heading)).strip()
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        if level == "3" and entries:
            slug = f"{entries[-1].anchor}-{slug}"
        anchor, count = slug, 1
        while anchor in taken:
            count += 1
            anchor = f"{slug}-{count}"
        taken.add(anchor)
        if level == "2":
            entries.append(Entry(anchor, title))
        return f'<h{level} id="{anchor}">{heading} <a class="anchor" href="#{anchor}" aria-label="Link here">#</a></h{level}>'

    return Anchored(Markup(HEADING.sub(linked, body)), entries)
