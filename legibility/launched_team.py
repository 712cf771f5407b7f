"""Ranks that torchrun or `accelerate launch` started, on one machine or several: a team on torch.distributed.

Rank 0 plays the game. Every other rank waits in `serve`, gets the members of a phase sent, calls what rank 0 calls and
takes part in its gathers and sums; it reads no file and writes none. What is to be done next stands in the launcher's
store, under numbered keys that a rank polls, since rank 0 may be busy alone for as long as it likes; everything larger
goes through the process group, whose operations have a time-out.

Sums over CPU tensors are gathered and added in the order of ranks, so that a game played again by as many ranks is the
same to the last bit; over GPU tensors NCCL adds.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from legibility.errors import UserError, WorkerDied
from legibility.launch import Launch, hide_launcher, launched_as
from legibility.team import Team, remember_memory

T = TypeVar("T")

ARRIVAL = 300.0  # seconds in which every rank has to be there
GOODBYE = 10.0  # seconds that rank 0 gives others to come, where all it has to say is that there is nothing to do
FAREWELL = 60.0  # seconds that a rank whose work failed waits for rank 0 to say so
GRACE = 15  # seconds in which rank 0 may finish its step and say the last word, once the launcher wants an end
CHUNK = 1 << 26  # numbers or bytes that are sent at once
PACKAGES = ("torch", "transformers", "peft", "numpy")
OF_THE_GROUP = ("gloo", "nccl", "closed by peer", "process group")
"""What an error of the process group mentions where another library raised it, in lower case."""
END, GO, MEMBERS, RUN, APART = "end", "go", "members", "run", "apart"


class Lost(RuntimeError):
    """A collective operation failed, because another rank ended, left or stopped answering."""


@dataclass(frozen=True)
class Fingerprint:
    """What has to be alike on all ranks for them to play one game."""

    code: str
    versions: dict[str, str]
    command: list[str]

    @classmethod
    def own(cls) -> Fingerprint:
        """Of this process: the package's source, versions of what it stands on, and the arguments of the command."""
        digest = hashlib.sha256()
        for file in sorted(Path(__file__).parent.rglob("*.py")):
            digest.update(file.read_bytes())
        versions = {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}
        return cls(digest.hexdigest()[:12], versions, sys.argv[1:])

    def difference(self, other: Fingerprint) -> str | None:
        """In what another rank differs, for people; None: in nothing."""
        for name, version in self.versions.items():
            if other.versions.get(name) != version:
                return f"has {name} {other.versions.get(name)} and rank 0 has {version}; install the same versions"
        if other.code != self.code:
            return "has another source of legibility than rank 0; install the same commit on every machine"
        if other.command != self.command:
            return "was started with other arguments than rank 0; start every machine with the same command"
        return None


class LaunchedTeam(Team):
    """The ranks of a launcher, seen from one of them. `join` on rank 0, `serve` on the others."""

    _own: LaunchedTeam | None = None  # this process's, which pickled members find again

    def __init__(self, place: Launch, arrival: float | None = None) -> None:
        super().__init__()
        self.place, self.workers = place, place.size
        self._rank = place.rank
        self._told = 0
        at = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # what the one before said stands in the same store
        try:
            store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=arrival or ARRIVAL)))
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"rank {place.rank} cannot meet rank 0 at {at} ({str(error).splitlines()[0]}); is its machine up, and the "
                "port free and open?"
            ) from None
        hide_launcher()
        self._store: Any = dist.PrefixStore(f"legibility/{attempt}", store)
        LaunchedTeam._own = self
        if torch.cuda.is_available():
            torch.cuda.set_device(place.local_rank)

    def __reduce__(self) -> tuple[Callable[[], Team], tuple[()]]:
        return _own_team, ()

    # ---- coming and going ---------------------------------------------------------------------

    @classmethod
    def join(cls, place: Launch, timeout: float) -> LaunchedTeam:
        """Rank 0's team, once all ranks are there. timeout: seconds after which a rank that does not answer is lost.

        Raises UserError where a rank does not come, or differs in source, versions or arguments.
        """
        team = cls._own or cls(place)
        mine = Fingerprint.own()
        for rank in range(1, place.size):
            key = f"here/{rank}"
            if not _within(ARRIVAL, lambda key=key: team._store.check([key])):  # type: ignore[misc]
                raise UserError(f"rank {rank} of {place.size} is not there after {ARRIVAL:.0f} s; is its machine up?")
            difference = mine.difference(pickle.loads(team._store.get(key)))
            if difference is not None:
                raise UserError(f"rank {rank} {difference}")
        team._tell(GO, f"{timeout} {torch.get_num_threads()}")
        with team._said_why():
            team._meet(timeout)
        return team

    @classmethod
    def serve(cls, place: Launch) -> int:
        """A rank's life beside rank 0: do what it says until it ends. Returns the exit code."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0's to handle
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))  # rank 0's too, which may need us for its step
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        team = None
        try:
            team = cls(place)
            team._store.set(f"here/{place.rank}", pickle.dumps(Fingerprint.own()))
            return team._serve()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return error.exit_code
        except (Lost, dist.DistError, ConnectionError):
            if team is None:
                return 1
            team._leave()
            return 0 if _within(2.0, team._ended) else 1  # what rank 0 ended by is its own to say

    @classmethod
    def dismiss(cls, place: Launch) -> None:
        """Send the other ranks home, whether this process has met them or not."""
        with suppress(Exception):
            (cls._own or cls(place, GOODBYE)).close()

    def close(self) -> None:
        """Send the other ranks home. Whoever comes later is sent home too."""
        with suppress(Exception):  # the store may be gone already, and they with it
            self._tell(END)
        self._leave()

    def _meet(self, timeout: float) -> None:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with self._collective():
            dist.init_process_group(
                backend,
                store=dist.PrefixStore("group", self._store),
                rank=self.place.rank,
                world_size=self.place.size,
                timeout=timedelta(seconds=timeout),
            )

    def _leave(self) -> None:
        """Out of the process group, which makes the others' operations fail at once instead of waiting."""
        if dist.is_initialized():
            with suppress(Exception):
                dist.destroy_process_group()

    # ---- rank 0 -------------------------------------------------------------------------------

    @contextmanager
    def together(self, *members: Any, gradients: int = 0) -> Iterator[None]:
        """Send the members to every rank for a block. Raises RuntimeError inside another such block."""
        if self.size > 1:
            raise RuntimeError("this team is at work already")
        self._members = [self, *(member for member in members if member is not None)]
        self.size = self.workers
        try:
            with self._said_why():
                self._send(MEMBERS, self._packed_members())
            self._begin()
            yield
            self._end()
            remember_memory(sum(self.run(_memory_mb)[1:]))
            self._tell(APART)
        except BaseException:
            self.close()  # the others may be in the middle of something, and cannot be used again
            raise
        finally:
            self._members, self.size = [], 1

    def _packed_members(self) -> memoryview:
        """The members as they are sent."""
        content = io.BytesIO()
        torch.save(self._members[1:], content)
        return content.getbuffer()

    def _begin(self) -> None:
        """What is done once all ranks have the members."""

    def _end(self) -> None:
        """What is done before the ranks part, if nothing failed."""

    def run(self, function: Callable[..., T], *arguments: Any, here: dict[str, Any] | None = None) -> list[T]:
        """Call a function everywhere, as `Team.run` says."""
        if self.size == 1:
            return [function(*arguments, **(here or {}))]
        with self._said_why():
            self._send(RUN, memoryview(self.pack((function, arguments))))
            own = function(*arguments, **(here or {}))
            answers: list[Any] = [None] * self.size
            with self._collective():
                dist.gather_object(own, answers)
        return answers

    @contextmanager
    def _said_why(self) -> Iterator[None]:
        """Where another rank is lost in the block, the reason is raised instead."""
        try:
            yield
        except Lost:
            raise self._why_lost() from None

    def _send(self, what: str, content: memoryview) -> None:
        self._tell(what, str(len(content)))
        with self._collective():
            for begin in range(0, len(content), CHUNK):
                dist.broadcast(torch.frombuffer(bytearray(content[begin : begin + CHUNK]), dtype=torch.uint8), src=0)

    def _tell(self, what: str, more: str = "") -> None:
        """The next word for the other ranks, in the store."""
        self._store.set(f"word/{self._told}", f"{what} {more}")
        self._told += 1

    def _why_lost(self) -> Exception:
        """The error that a rank raised, or WorkerDied: it was killed, or did not answer in time."""
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            with suppress(ValueError):  # not in the main thread
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, for what we are about to tell
        if _within(1.0, lambda: self._store.check(["failed"])):
            return cast(Exception, pickle.loads(self._store.get("failed")))
        return WorkerDied(
            "a rank ended early or stopped answering (compute.rank_timeout); the launcher's report says which, and its "
            "own output why; is memory short?"
        )

    # ---- everywhere ---------------------------------------------------------------------------

    def gather(self, value: T) -> list[T]:
        """The values of all, as `Team.gather` says."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._collective():
            dist.all_gather_object(values, value)
        return values

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum tensors over all, as `Team.add` says."""
        if self.size == 1 or not tensors:
            return
        whole = torch.cat([t.reshape(-1).float() for t in tensors])
        with self._collective():
            for part in whole.split(CHUNK):
                if part.is_cuda:
                    dist.all_reduce(part)
                    continue
                rows = [torch.empty_like(part) for _ in range(self.size)]
                dist.all_gather(rows, part)
                part.copy_(torch.stack(rows).sum(0))
        for tensor, total in zip(tensors, whole.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    @contextmanager
    def lent(self) -> Iterator[None]:
        """As `Team.lent` says."""
        if self.size == 1:
            with super().lent():
                yield
            return
        try:
            with launched_as(self.place, torch.get_num_threads()):
                yield
        except (RuntimeError, ValueError) as error:
            if isinstance(error, dist.DistError) or any(word in str(error).lower() for word in OF_THE_GROUP):
                raise Lost(str(error)) from error
            raise

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Operations of the process group: they fail as `Lost` where another rank does not take part."""
        try:
            yield
        except (RuntimeError, ValueError, ConnectionError) as error:  # ValueError: the group is gone
            raise Lost(str(error)) from error

    # ---- the other ranks ----------------------------------------------------------------------

    def _serve(self) -> int:
        while True:
            what, _, more = self._next()
            if what == END:
                self._leave()
                return 0
            if what == GO:
                timeout, threads = more.split()
                if not torch.cuda.is_available():
                    torch.set_num_threads(int(threads))
                self._meet(float(timeout))
            elif what == APART:
                self._members, self.size, self.rank = [], 1, 0
            elif not self._do(what, int(more)):
                return 1

    def _do(self, what: str, size: int) -> bool:
        """Take part in what rank 0 sent. Returns whether it worked; where not, rank 0 knows why."""
        try:
            content = self._received(size)
            if what == MEMBERS:
                found = torch.load(io.BytesIO(content), map_location=_own_device, weights_only=False)
                self._members, self.size, self.rank = [self, *found], self.workers, self._rank
            else:
                function, arguments = self.unpack(content)
                answer = function(*arguments)
                with self._collective():
                    dist.gather_object(answer)
            return True
        except Lost:
            raise
        except Exception as error:
            self._store.set("failed", _pickled(error))
            self._leave()
            _within(FAREWELL, self._ended)
            return False

    def _received(self, size: int) -> bytes:
        content = torch.empty(size, dtype=torch.uint8)
        with self._collective():
            for part in content.split(CHUNK):
                dist.broadcast(part, src=0)
        return content.numpy().tobytes()

    def _next(self) -> tuple[str, str, str]:
        """Rank 0's next word, however long it takes. Raises DistError where the store is gone."""
        key, idle = f"word/{self._told}", 0.001
        while not self._store.check([key]):
            time.sleep(idle)
            idle = min(0.05, idle * 1.2)
        self._told += 1
        return cast(tuple[str, str, str], self._store.get(key).decode().partition(" "))

    def _ended(self) -> bool:
        """Whether rank 0 has said its last word."""
        while self._store.check([f"word/{self._told}"]):
            if self._next()[0] == END:
                return True
        return False


def _own_team() -> Team:
    """What stands for the team in members that were sent: the receiving process's own."""
    return LaunchedTeam._own or Team()


def _own_device(storage: Any, location: str) -> Any:
    """Tensors of rank 0's GPU go to this rank's."""
    return storage.cuda() if location.startswith("cuda") else storage


def _memory_mb() -> float:
    """This process's peak resident memory, MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pickled(error: Exception) -> bytes:
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
        return content
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether something becomes true in that time. A store that is gone is no answer."""
    until = time.monotonic() + seconds
    with suppress(dist.DistError, RuntimeError):
        while time.monotonic() < until:
            if true():
                return True
            time.sleep(0.02)
    return False
