"""What a run shows while it works: one live line per phase, and a permanent line when a phase ends.

On a terminal this is a live line (legibility.live_line: step, share done, time left, phase, its numbers);
elsewhere plain lines now and then, an event a line however narrow the window. A log file gets the same lines. Names
and paths are shown as they are: what would be markup or an escape code in them is text. The same numbers go to the
run's trackers.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as RichProgress
from rich.text import Text

from legibility.live_line import live_line
from legibility.log_file import LogFile
from legibility.printable import printable
from legibility.trackers import Trackers

T = TypeVar("T")


class Progress:
    """Live display of one phase at a time.

    quiet: show nothing. only_warnings: show warnings, on stderr, and `result`. log: a file that gets every line.
    """

    def __init__(
        self,
        console: Console | None = None,
        quiet: bool = False,
        plain_every: float = 10.0,
        *,
        only_warnings: bool = False,
        log: LogFile | None = None,
    ) -> None:
        self.console = console or Console(stderr=only_warnings, quiet=quiet, highlight=False)
        self.only_warnings, self.log = only_warnings, log
        stream = self.console.file
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character never stops a run
        self.plain_every = plain_every
        self._bar: RichProgress | None = None
        self._task: Any = None
        self._phase, self._name, self._total, self._last_line, self._started = "", "", 0, 0.0, 0.0
        self._done_before = 0  # steps of the phase that another session made
        self.trackers = Trackers()

    def close(self) -> None:
        """Stop showing and close the trackers."""
        self._stop_bar()
        self.trackers.close()

    def phase(self, name: str, total: int, detail: str = "") -> None:
        """Begin showing a phase of `total` steps; `detail` stands behind its name on screen, not in trackers."""
        self._done_before = 0
        self._stop_bar()
        self._phase, self._name = name, f"{name} ({detail})" if detail else name
        self._total, self._started, self._last_line = total, time.time(), time.time()
        if self.console.is_terminal and not self.console.quiet and not self.only_warnings:
            self._bar = live_line(self.console)
            self._bar.start()
            self._task = self._bar.add_task(printable(self._name), total=total, shown="")

    def resumed(self, step: int) -> None:
        """The phase goes on at this step: those before it were made in another session."""
        self._done_before = step - 1
        self._started = time.time()
        if self._bar is not None:
            self._bar.reset(self._task, completed=step - 1)
        self.note(f"{self._name}: resumed at step {step}")

    def step(self, step: int, shown: Mapping[str, float], tracked: Mapping[str, float] | None = None) -> None:
        """Report progress inside the phase: `shown` on screen, `tracked` (default the same) to trackers."""
        text = format_numbers(shown)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, shown=printable(text))
        if time.time() - self._last_line > self.plain_every:
            self._last_line = time.time()
            rate = (time.time() - self._started) / max(step - self._done_before, 1)
            left = f", {rate * (self._total - step):.0f} s left" if self._total else ""
            self._line(_shown(f"  {self._name} {step}/{self._total}  {text}{left}"), show=self._bar is None)
        self.trackers.numbers({f"{self._phase}/{k}": v for k, v in (tracked or shown).items()})

    def each(self, name: str, items: Sequence[T]) -> Iterator[T]:
        """The items one after another, shown as a phase of as many steps; it ends without a line of its own."""
        self.phase(name, len(items))
        for k, item in enumerate(items, start=1):
            yield item
            self.step(k, {})
        self._stop_bar()

    def done(self, text: str) -> None:
        """End the phase with a permanent line."""
        seconds = time.time() - self._started
        self._stop_bar()
        self.made(f"{self._name}  {text}", seconds)

    def note(self, text: str) -> None:
        """A permanent line outside any phase."""
        self._line(_shown(text))

    def detail(self, text: str) -> None:
        """A permanent line that few will read."""
        self._line(f"  [dim]{_shown(text)}[/dim]")

    def made(self, text: str, seconds: float | None = None) -> None:
        """A permanent line of what has been made, and in what time."""
        took = "" if seconds is None else f"  [dim]{seconds:.0f} s[/dim]"
        self._line(f"[green]✓[/green] {_shown(text)}{took}")

    def warn(self, text: str) -> None:
        """A permanent line that is marked as a warning."""
        self._line(f"[yellow]![/yellow] {_shown(text)}", warning=True)

    def result(self, text: str) -> None:
        """What the command was for, on stdout; shown even where only warnings are."""
        if not self.console.quiet:
            print(printable(text), flush=True)
        self._log(printable(text))

    def _line(self, markup: str, *, show: bool = True, warning: bool = False) -> None:
        if show and (warning or not self.only_warnings):
            self.console.print(markup, soft_wrap=not self.console.is_terminal)
        self._log(Text.from_markup(markup).plain)

    def _log(self, line: str) -> None:
        if self.log is not None:
            self.log.add(line.strip())

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _shown(text: str) -> str:
    return escape(printable(text))


def format_numbers(values: Mapping[str, float]) -> str:
    """Names and values on one line: two decimals, none for large whole numbers."""
    return "  ".join(
        f"{k} {v:.0f}" if float(v).is_integer() and abs(v) >= 100 else f"{k} {v:.2f}" for k, v in values.items()
    )
