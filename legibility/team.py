"""Several processes that share the work of a phase, and how the code of a phase speaks of them.

Inside `with team.together(prover, ppo)` every process has its own copies of those objects, the members.
`run(function, …)` calls the function in every process; there `share` deals out work, `gather` collects results and
`add` sums gradients. Optimizers then take the same step everywhere, so the members stay alike. Outside the block a
team is this process alone, and the same code runs unchanged.

`Team` itself is one process. Two transports stand behind the same words: forked helpers on one CPU
(legibility.forked_team) and ranks started by torchrun (legibility.launched_team). In both the process of rank 0 plays
the game and the others do what it sends, so files, gates, stop rules and trackers are rank 0's alone.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import torch

from legibility.launch import launched_as
from legibility.sharding import is_part, own_part

T = TypeVar("T")
Tensors = Callable[[Any], dict[str, torch.Tensor]]


class Team:
    """One process. `rank` is 0 in the caller; `size` is 1 outside `together`; `workers` is what it is inside."""

    shards = False
    """Whether the members' networks are spread over the processes (legibility.sharded_team)."""

    def __init__(self) -> None:
        self.rank, self.size, self.workers = 0, 1, 1
        self._members: list[Any] = []

    @contextmanager
    def together(self, *members: Any, gradients: int = 0) -> Iterator[None]:
        """Share the work of a block. `gradients`: the most numbers that one `add` will sum.

        Raises RuntimeError inside another such block of several processes.
        """
        yield

    @property
    def members(self) -> list[Any]:
        """What every process has its own copy of, this team first."""
        return self._members

    def knows(self, *objects: Any) -> bool:
        """Whether the other processes have copies of all these, so that `run` need not send them."""
        return all(any(x is member for member in self._members) for x in objects)

    def run(self, function: Callable[..., T], *arguments: Any, here: dict[str, Any] | None = None) -> list[T]:
        """Call a module-level function everywhere; its results by rank. `here`: keywords for this process alone.

        Members among the arguments stand for every process's own copy; all else is sent. Raises what another
        process raised, or WorkerDied.
        """
        return [function(*arguments, **(here or {}))]

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
        return [value]

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes, the same to the last bit in each."""

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sum the parameters' gradients over all processes; where there is none, it counts as zero.

        Those of spread weights are there already, as the mean that FSDP makes of them.
        """
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                elif is_part(parameter):
                    own_part(parameter.grad).mul_(self.size)
            self.add([p.grad for p in parameters if p.grad is not None and not is_part(p)])

    def whole(self, member: T) -> T:
        """A member with whole weights, to be saved: the member itself, or a copy of one whose networks are spread."""
        return member

    def whole_tensors(self, member: T, tensors: Tensors) -> dict[str, torch.Tensor]:
        """What `tensors(member)` names, a module-level function: those tensors, or whole copies of spread ones."""
        return tensors(member)

    def put_tensors(self, member: T, tensors: Tensors, whole: Mapping[str, torch.Tensor]) -> None:
        """Copy whole tensors into the spread ones that `tensors(member)` names, in every process."""
        raise NotImplementedError("the processes of this team hold whole tensors")

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A block of `run` in which another library trains: accelerate finds the processes of this team, and no others.

        All of them have to enter it. A process that is lost in it is told of as in our own operations.
        """
        with launched_as(None, torch.get_num_threads()):
            yield

    def close(self) -> None:
        """Send the other processes home, for good."""

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pack(self, message: Any) -> bytes:
        """A message as bytes, its members as their places."""
        buffer = io.BytesIO()
        _MemberPickler(self._members, buffer).dump(message)
        return buffer.getvalue()

    def unpack(self, message: bytes) -> Any:
        """What `pack` wrote, with this process's copies of the members."""
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
    """The most memory, in MiB, that other processes of any team so far held beyond what they shared with this one."""
    return _workers_mb


def remember_memory(megabytes: float) -> None:
    """Note what the other processes of a team held."""
    global _workers_mb
    _workers_mb = max(_workers_mb, megabytes)
