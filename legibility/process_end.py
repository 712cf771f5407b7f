"""How a command is ended from outside: by Ctrl-C or SIGTERM, and what becomes of a launcher's other ranks when it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from legibility.errors import Interrupted
from legibility.launch import launch


@contextmanager
def ranks_go_home() -> Iterator[None]:
    """A launcher's other ranks wait for this one's word: whatever the command was, they have its last one."""
    try:
        yield
    finally:
        place = launch()
        if place is not None:
            from legibility.launched_team import LaunchedTeam

            LaunchedTeam.dismiss(place)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise `Interrupted` inside the block, so that phases clean up and say what they lost."""

    def stop(signum: int, _: object) -> None:
        raise Interrupted(signum)

    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
