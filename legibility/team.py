"""Several processes that share the work of a phase: the caller and forked copies of it, one CPU thread each.

Small models do not keep cores busy through threads inside one operation (docs/performance.md).
Inside `with team.together(prover, ppo)` every further worker is a copy of this process and has its own
copies of those objects, the members. `run(function, …)` calls the function in every process; there
`share` deals out work, `gather` collects results and `add` sums gradients. Optimizers then take the
same step everywhere, so the members stay alike. Outside the block a team is this process alone, and
the same code runs unchanged.
"""

from __future__ import annotations

import gc
import io
import mmap
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, TypeVar

import torch

from legibility.errors import WorkerDied

T = TypeVar("T")


class Team:
    """`workers` processes, this one included. `rank` is 0 in the caller; `size` is 1 outside `together`."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers if workers > 1 and can_fork() else 1
        self.rank, self.size = 0, 1
        self._members: list[Any] = []
        self._links: list[Connection] = []
        self._boards: list[torch.Tensor] = []
        self._turn = 0

    @contextmanager
    def together(self, *members: Any, gradients: int = 0) -> Iterator[None]:
        """Fork the workers for a block. `gradients`: the most numbers that one `add` will sum.

        Raises RuntimeError inside another such block.
        """
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
            _remember(sum(self.run(_own_memory_mb)[1:]))
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

    def knows(self, *objects: Any) -> bool:
        """Whether the workers have copies of all these, so that `run` need not send them."""
        return all(any(x is member for member in self._members) for x in objects)

    def run(self, function: Callable[..., T], *arguments: Any, here: dict[str, Any] | None = None) -> list[T]:
        """Call a module-level function everywhere; its results by rank. `here`: keywords for this process alone.

        Members among the arguments stand for every process's own copy; all else is sent. Raises what a
        worker raised, or WorkerDied.
        """
        if self._links:
            message = self._pack((function, arguments))
            for link in self._links:
                link.send_bytes(message)
        own = function(*arguments, **(here or {}))
        return [own, *(self._receive(link) for link in self._links)]

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's part of the items, dealt in turns that change direction (0 1 2 2 1 0 …).

        Where items are sorted by size, every process then gets about as much work.
        """
        there_and_back = 2 * self.size
        return [
            x for i, x in enumerate(items) if self.rank in (i % there_and_back, there_and_back - 1 - i % there_and_back)
        ]

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank, in every process. All must call it, in the same order.

        No tensors: multiprocessing would send those through files.
        """
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
        """Replace each tensor by its sum over all processes, the same to the last bit in each."""
        if self.size == 1:
            return
        self._turn = 1 - self._turn
        board = self._boards[self._turn][:, : sum(t.numel() for t in tensors)]
        torch.cat([t.reshape(-1) for t in tensors], out=board[self.rank])
        self.gather(None)
        total = board.sum(0)
        for tensor, part in zip(tensors, total.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the parameters' gradients over all processes; where there is none, it counts as zero."""
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self.add([parameter.grad for parameter in parameters if parameter.grad is not None])

    def _serve(self, rank: int, here: Connection, link: Connection) -> None:
        """A worker's life: do what is sent until the caller hangs up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller's to handle
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread, and no warning of having been forked
        for other in (here, *self._links):
            other.close()  # or nobody would notice the caller's end
        self.rank, self._links = rank, [link]
        try:
            while True:
                message = link.recv_bytes()
                try:
                    function, arguments = self._unpack(message)
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

    def _pack(self, message: Any) -> bytes:
        buffer = io.BytesIO()
        _MemberPickler(self._members, buffer).dump(message)
        return buffer.getvalue()

    def _unpack(self, message: bytes) -> Any:
        return _MemberUnpickler(self._members, io.BytesIO(message)).load()


class _MemberPickler(pickle.Pickler):
    """Writes a team's members as their places, everything else in full."""

    def __init__(self, members: Sequence[Any], file: IO[bytes]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._places = {id(member): place for place, member in enumerate(members)}

    def persistent_id(self, obj: Any) -> int | None:
        return self._places.get(id(obj))


class _MemberUnpickler(pickle.Unpickler):
    """Reads what `_MemberPickler` wrote, with this process's copies of the members."""

    def __init__(self, members: Sequence[Any], file: IO[bytes]) -> None:
        super().__init__(file)
        self._members = members

    def persistent_load(self, pid: int) -> Any:
        return self._members[pid]


def team_of(team: Team | None, model: Any) -> Team:
    """The team where it is together and knows the model, else this process alone."""
    return team if team is not None and team.knows(model) else Team()


_workers_mb = 0.0


def workers_peak_mb() -> float:
    """The most memory, in MiB, that workers of any team so far held beyond what they shared with this process."""
    return _workers_mb


def _remember(megabytes: float) -> None:
    global _workers_mb
    _workers_mb = max(_workers_mb, megabytes)


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
