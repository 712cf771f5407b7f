"""Fifty raters at once on a real judging server, which is killed under some of them: what was acknowledged must be there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.judging.crowd import Crowd

RATERS = 50
FEWER = 12
"""Raters of the studies whose server is killed."""


def run(folder: Path, *, seed: int, until: float, raters: int = RATERS, most: int = 20) -> list[Crowd]:
    """A study of `raters` people, then studies whose server is killed three times each, until `until` (monotonic)."""
    from tests.judging.crowd import crowd
    from tests.judging.world import made_up_study

    study = made_up_study(folder / "many", raters=raters, per_rater=6, attention=2)
    found = [crowd(study, raters, seed=seed)]
    while time.monotonic() < until and len(found) < most:
        few = min(FEWER, raters)
        study = made_up_study(folder / f"killed{len(found)}", raters=few, per_rater=10, attention=2)
        found.append(crowd(study, few, kills=3, seed=seed + len(found)))
    return found


def fell(rows: list[Crowd]) -> int:
    """How many judgments and raters something went wrong with."""
    return sum(r.lost + r.repeated + r.unasked + r.out_of_order + r.shared + len(r.trouble) for r in rows)


def table(rows: list[Crowd]) -> str:
    """The rows as markdown: the crowd, and all studies whose server was killed together."""
    lines = [
        "| studies | raters at once | judgments | kills of the server | judgments a second | lost | twice | never acknowledged | wrong order | shared places | raters in trouble |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for group in (rows[:1], rows[1:]):
        if group:
            judgments, seconds = sum(r.judgments for r in group), sum(r.seconds for r in group)
            bad = (sum(getattr(r, n) for r in group) for n in ("lost", "repeated", "unasked", "out_of_order", "shared"))
            counted = [
                len(group),
                max(r.raters for r in group),
                judgments,
                sum(r.kills for r in group),
                round(judgments / seconds),
            ]
            lines.append("| " + " | ".join(map(str, [*counted, *bad, sum(len(r.trouble) for r in group)])) + " |")
    trouble = [f"- {told}" for r in rows for told in dict.fromkeys(r.trouble)]
    return "\n".join(["", *lines, *(["", *trouble] if trouble else []), ""])
