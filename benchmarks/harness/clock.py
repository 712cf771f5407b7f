"""Where the seconds of a step go: rollout, scoring, and all the rest, which is called update."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PHASES = ("rollout", "scoring")


class Clock:
    """`begin` opens a step and closes the one before. A phase inside another one stops the outer one's time."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._started: float | None = None
        self._open: list[str] = []
        self._spent = dict.fromkeys(PHASES, 0.0)
        self._mark = 0.0

    def begin(self) -> None:
        self.end()
        self._spent = dict.fromkeys(PHASES, 0.0)
        self._started = self._mark = time.perf_counter()

    def end(self) -> None:
        if self._started is not None:
            total = time.perf_counter() - self._started
            self.steps.append({"total": total, **self._spent, "update": total - sum(self._spent.values())})
        self._started = None

    def enter(self, phase: str) -> None:
        self._charge()
        self._open.append(phase)

    def leave(self) -> None:
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self._spent[self._open[-1]] += now - self._mark
        self._mark = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.enter(name)
        try:
            yield
        finally:
            self.leave()

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, its time charged to a phase."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return wrapper


def resident_mb(peak: bool) -> float:
    """Resident memory of this process now, or its highest so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would remember the parent's memory from before exec
        field = "VmHWM:" if peak else "VmRSS:"
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
