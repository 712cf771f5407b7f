"""The line of a phase on a terminal: how far it is, what it is, and its numbers, as much of each as the width allows.

Step, share done and time left are never cut. A wide terminal has them behind the name and a bar; in a narrow one they
come first, and what does not fit ends in "…".
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TimeRemainingColumn,
)
from rich.progress import TaskProgressColumn as ShareColumn
from rich.table import Column
from rich.text import Text

WIDE = 100
"""Columns from which there is room for the bar and for the numbers behind it."""


class CutColumn(ProgressColumn):
    """Text that gives way: cut, not wrapped, where the terminal is too narrow for it. `field`: a task's field, or its name."""

    def __init__(self, field: str | None = None, style: str = "") -> None:
        super().__init__(Column(no_wrap=False, overflow="ellipsis"))
        self.field, self.style = field, style

    def render(self, task: Task) -> Text:
        """The text, on one line."""
        text = task.description if self.field is None else str(task.fields[self.field])
        return Text(text, style=self.style, no_wrap=True, overflow="ellipsis")


def live_line(console: Console) -> Progress:
    """A display of one task whose field `shown` holds its numbers. It leaves nothing behind when it stops."""
    how_far = [MofNCompleteColumn(), ShareColumn(), TimeRemainingColumn(compact=True)]
    name, numbers = CutColumn(style="bold"), CutColumn("shown")
    columns: list[ProgressColumn]
    if console.width < WIDE:
        columns = [*how_far, name, numbers]
    else:
        columns = [SpinnerColumn(), name, BarColumn(bar_width=20), *how_far, numbers]
    return Progress(*columns, console=console, transient=True)
