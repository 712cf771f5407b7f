"""The style of a written solution: what a reader sees who counts and does not read.

In generated and trained text alike, how a solution is written says much about whether it is right: on the built-in
base policy's text the rule 'contains "="' has an AUROC above 0.8. Two texts are of one style where they have as many
written lines, as many equals signs and as many numbers, so a rule that reads nothing but these counts (a step is
written at all, the number of steps, the length in lines) scores both alike. Not in the paper.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Style(NamedTuple):
    """The counts that make two texts look alike. `lines`: those that are not blank; `equals`: "=" signs."""

    lines: int
    equals: int
    numbers: int


def style_of(text: str) -> Style:
    """The style of a text; an empty one has a style too. "1,000.5" is one number, "1/2" are two."""
    lines = sum(1 for line in text.splitlines() if line.strip())
    return Style(lines, text.count("="), len(_NUMBER.findall(text)))
