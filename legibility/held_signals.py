"""Ctrl-C and SIGTERM wait for the end of a piece of work that must be whole, and are then delivered again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Hold Ctrl-C and SIGTERM until the block ends, and let whoever handled them before handle them then.

    A second one does not wait: who asks twice wants an end now. In a thread other than the main one, which gets no
    signals, nothing is held. Yields the list of those that wait, none or one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    waiting: list[int] = []

    def hold(signum: int, frame: FrameType | None) -> None:
        if not waiting:
            waiting.append(signum)
            return
        waiting.clear()
        _put_back(before)
        signal.raise_signal(signum)

    before = {number: handler for number in HELD if (handler := signal.getsignal(number)) is not None}
    for number in before:
        signal.signal(number, hold)
    try:
        yield waiting
    finally:
        _put_back(before)
        if waiting:
            signal.raise_signal(waiting[0])


def _put_back(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
