"""Helpers as forked copies of this process, one CPU thread each: the transport of `compute.workers`.

Small models do not keep cores busy through threads inside one operation (docs/performance.md). A fork shares every
page that neither side writes, so models need not be sent; pipes carry what is run, gathered and returned, and sums
of gradients meet on boards of shared memory.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch

from legibility.errors import WorkerDied
from legibility.team import Team, remember_memory

T = TypeVar("T")


class ForkedTeam(Team):
    """This process and `workers` - 1 forked copies of it, each of which has its own copies of the members."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.workers = workers if can_fork() else 1
        self._links: list[Connection] = []
        self._boards: list[torch.Tensor] = []
        self._turn = 0

    @contextmanager
    def together(self, *members: Any, gradients: int = 0) -> Iterator[None]:
        """Fork the workers for a block. Raises RuntimeError inside another such block."""
        if self.workers == 1:
            yield
            return
        if self.size > 1:
            raise RuntimeError("this team is at work already")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # before the fork: a forked process may not use torch's threads again
        processes = []
        try:
            self._members = [self, *(member for member in members if member is not None)]
            self.size = self.workers
            # two, in turn: a worker may write the next sum while another still reads this one
            self._boards = [_shared(self.size, gradients) for _ in range(2)] if gradients else []
            gc.freeze()  # collecting garbage in a worker would copy every page it looks at
            for rank in range(1, self.size):
                here, there = get_context("fork").Pipe()
                process = get_context("fork").Process(target=self._serve, args=(rank, here, there), daemon=True)
                with warnings.catch_warnings():  # Python 3.12 warns of forks beside threads; these workers use none
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process.start()
                there.close()
                self._links.append(here)
                processes.append(process)
            yield
            remember_memory(sum(self.run(_own_memory_mb)[1:]))
        finally:
            for link in self._links:
                link.close()  # which ends the worker
            self._members, self._links, self._boards, self.size = [], [], [], 1
            for process in processes:
                process.join(timeout=5)
                if process.is_alive():
                    process.kill()
                    process.join()
            gc.unfreeze()
            torch.set_num_threads(threads)

    def run(self, function: Callable[..., T], *arguments: Any, here: dict[str, Any] | None = None) -> list[T]:
        """Call a function everywhere, as `Team.run` says."""
        if self._links:
            message = self.pack((function, arguments))
            for link in self._links:
                link.send_bytes(message)
        own = function(*arguments, **(here or {}))
        return [own, *(self._receive(link) for link in self._links)]

    def gather(self, value: T) -> list[T]:
        """The values of all, as `Team.gather` says."""
        if self.size == 1:
            return [value]
        if self.rank > 0:
            self._links[0].send(("value", value))
            return self._links[0].recv()
        values = [value, *(self._receive(link) for link in self._links)]
        for link in self._links:
            link.send(values)
        return values

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum tensors over all, as `Team.add` says."""
        if self.size == 1:
            return
        self._turn = 1 - self._turn
        board = self._boards[self._turn][:, : sum(t.numel() for t in tensors)]
        torch.cat([t.reshape(-1) for t in tensors], out=board[self.rank])
        self.gather(None)
        total = board.sum(0)
        for tensor, part in zip(tensors, total.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def _serve(self, rank: int, here: Connection, link: Connection) -> None:
        """A worker's life: do what is sent until the caller hangs up."""
        for number in (signal.SIGINT, signal.SIGTERM):  # the caller's to handle, who may have a step to finish first
            signal.signal(number, signal.SIG_IGN)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, and no warning of having been forked
        for other in (here, *self._links):
            other.close()  # or nobody would notice the caller's end
        self.rank, self._links = rank, [link]
        try:
            while True:
                message = link.recv_bytes()
                try:
                    function, arguments = self.unpack(message)
                    answer = ("value", function(*arguments))
                except (EOFError, ConnectionError):
                    raise
                except Exception as error:
                    answer = ("error", error)
                link.send(answer)
        except (EOFError, ConnectionError):
            return

    def _receive(self, link: Connection) -> Any:
        try:
            kind, value = link.recv()
        except (EOFError, ConnectionError):
            raise WorkerDied("a worker process ended early; is memory short? compute.workers: 1 does without") from None
        if kind == "error":
            raise value
        return value


def _own_memory_mb() -> float:
    """This process's peak resident memory less the pages that it still shares: an upper bound of its own."""
    import resource  # not on Windows, where teams have no workers

    shared = 0
    rollup = Path("/proc/self/smaps_rollup")
    if rollup.is_file():  # not in every sandbox
        shared = sum(int(line.split()[1]) for line in rollup.read_text().splitlines() if line.startswith("Shared_"))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - shared) / 1024


def can_fork() -> bool:
    """Whether processes may be forked here: Linux only, and not beside a GPU (torch's gradients do not survive it)."""
    return sys.platform == "linux" and not torch.cuda.is_available()


def _shared(rows: int, columns: int) -> torch.Tensor:
    """A float32 tensor (rows, columns) that forked processes share."""
    return torch.frombuffer(mmap.mmap(-1, 4 * rows * columns), dtype=torch.float32).view(rows, columns)
