"""A pool of fresh processes that do not outlive the one that made it."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from legibility.errors import WorkerDied


@contextmanager
def fresh_processes(
    count: int, begin: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    """`count` spawned processes, each of which calls begin(*arguments) first.

    Spawned, since a forked process may not use torch's threads again. What is queued when the block ends is
    dropped. If it ends by an error, or this process is killed, the processes end at once, whatever they are doing.
    Raises WorkerDied where one of them was killed.
    """
    before = set(active_children())
    # as bytes, so that a process watches its parent before it imports what they need
    processes = ProcessPoolExecutor(count, get_context("spawn"), _begin, (pickle.dumps((begin, arguments)),))
    try:
        yield processes
    except BaseException as error:
        for child in set(active_children()) - before:
            child.kill()
        if isinstance(error, BrokenProcessPool):
            raise WorkerDied(
                "a process of this command was killed; is memory short? fewer at a time need less"
            ) from None
        raise
    finally:
        processes.shutdown(cancel_futures=True)


def _begin(packed: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends these
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin, arguments = pickle.loads(packed)
    begin(*arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
