"""A phase on a terminal of any width: one line, on which step, share done and time left are whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from legibility.live_line import live_line


def shown(width: int, step: int = 12) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    line = live_line(console)
    task = line.add_task("round 0 verifier (3000 texts, 150 of them repeated)", total=64, shown="")
    clock = iter(range(1000))
    line.get_time = lambda: float(next(clock))
    line.start_task(task)
    for k in range(1, step + 1):
        line.update(task, completed=k, shown="helpful 0.52  sneaky 0.02  V(h,correct) 6.09  KL 2.39")
    with console.capture() as captured:
        console.print(line.get_renderable())
    return captured.get()


@pytest.mark.parametrize("width", [30, 40, 60, 99])
def test_a_narrow_terminal_has_step_share_and_time_first(width):
    text = shown(width)
    assert text.count("\n") == 1 and len(text.rstrip("\n")) <= width
    step, share, left, name = text.split()[:4]
    assert (step, share) == ("12/64", "19%") and ":" in left and "…" not in left and name.startswith("r")


@pytest.mark.parametrize("width", [100, 200])
def test_a_wide_terminal_has_the_name_and_a_bar_before_them(width):
    text = shown(width)
    assert text.count("\n") == 1
    assert text.index("round 0") < text.index("━") < text.index("12/64") < text.index("19%") < text.index("helpful")
