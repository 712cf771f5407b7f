"""Ranks that hold the networks of a phase in parts: the team behind `compute.shard`.

The members of a phase are sent as objects without weights; the weights follow, a layer at a time, and every rank keeps
its part (legibility.sharding). When the ranks part, rank 0 gets the networks back as they were, whole and trained, and
whoever saves them or goes on with them does what he does with one process. In between only rank 0 speaks to the files, so
whole weights and whole checkpoints go through its memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from legibility.checkpoint_files import check_alike
from legibility.errors import WorkerDied
from legibility.launch import Launch
from legibility.launched_team import LaunchedTeam
from legibility.sharding import Holder, Shardable, hollow, shard, spread, whole_network, whole_tensors
from legibility.team import Team, Tensors

T = TypeVar("T")


class ShardedTeam(LaunchedTeam):
    """Rank 0's team of ranks that hold parts. `device` is where the parts are, "cpu" or "cuda"."""

    shards = True

    def __init__(self, place: Launch) -> None:
        super().__init__(place)
        self.device = "cpu"
        self._empty: dict[int, list[_Empty]] = {}  # of each member, by id
        self._failed: Exception | None = None

    @classmethod
    def join_sharded(cls, place: Launch, timeout: float, device: str) -> ShardedTeam:
        """Rank 0's team, once all ranks are there (`LaunchedTeam.join`)."""
        team = cls.join(place, timeout)
        if not isinstance(team, ShardedTeam):
            raise RuntimeError("this process was a rank of another kind before")
        team.device = torch.device(device).type
        return team

    def run(self, function: Callable[..., T], *arguments: Any, here: dict[str, Any] | None = None) -> list[T]:
        """Call a function everywhere, as `Team.run` says; after one that failed none is made any more, since the others
        are not where they would have to be."""
        if self.size > 1 and self._failed is not None:
            raise self._failed
        try:
            return super().run(function, *arguments, here=here)
        except BaseException as error:
            stopped = WorkerDied(
                "a call of all ranks was stopped in the middle, so they can do nothing together any more"
            )
            self._failed = error if isinstance(error, Exception) else stopped
            raise

    def whole(self, member: T) -> T:
        """A copy of a member with whole weights, on the CPU, as `Team.whole` says."""
        empty = self._empty.get(id(member))
        if not empty or not isinstance(member, Shardable):
            return member
        filled = [copy.deepcopy(one.network) for one in empty]
        self.run(_gather_networks, member, False, here={"into": filled, "places": ["cpu"] * len(filled)})
        twin = copy.copy(member)
        for holder, network in zip(twin.holders(), filled, strict=True):
            assert holder.owner is twin, "networks of inner objects would be the original's too"
            holder.put(network)
        return twin

    def whole_tensors(self, member: Any, tensors: Tensors) -> dict[str, torch.Tensor]:
        """Whole copies in this process's memory, as `Team.whole_tensors` says."""
        found: dict[str, torch.Tensor] = {}
        self.run(_gather_tensors, member, tensors, here={"into": found})
        return found

    def put_tensors(self, member: Any, tensors: Tensors, whole: Mapping[str, torch.Tensor]) -> None:
        """Copy whole tensors of this process into every rank's parts, as `Team.put_tensors` says.

        Raises UserError where names or shapes are others.
        """
        self.run(_spread_tensors, member, tensors, here={"whole": whole})

    def _packed_members(self) -> memoryview:
        members = _shardable(self._members)
        for member in members:
            member.let_go()
        holders = {id(member): member.holders() for member in members}
        self._empty = {
            key: [_Empty(hollow(h.network), next(h.network.parameters()).device) for h in found]
            for key, found in holders.items()
        }
        pairs = [(h, e) for key, found in holders.items() for h, e in zip(found, self._empty[key], strict=True)]
        with _standing_in(pairs):
            return super()._packed_members()

    def _begin(self) -> None:
        self.run(_shard_members, self, self.device)

    def _end(self) -> None:
        for member in _shardable(self._members):
            empty, holders = self._empty[id(member)], member.holders()
            networks, places = [e.network for e in empty], [e.place for e in empty]
            self.run(_gather_networks, member, True, here={"into": networks, "places": places})
            for holder, network in zip(holders, networks, strict=True):
                if holder.again:
                    holder.put(network)
            if places:
                member.let_go()
                member.take_up(str(places[0]))
        self._empty = {}


@dataclass(frozen=True)
class _Empty:
    """A network without weights, and where those were."""

    network: nn.Module
    place: torch.device


@contextmanager
def _standing_in(pairs: Sequence[tuple[Holder, _Empty]]) -> Iterator[None]:
    """Empty networks in the places of full ones, for a block."""
    full = [holder.network for holder, _ in pairs]
    try:
        for holder, empty in pairs:
            holder.put(empty.network)
        yield
    finally:
        for (holder, _), network in zip(pairs, full, strict=True):
            holder.put(network)


def _shardable(members: Sequence[Any]) -> list[Shardable]:
    return [member for member in members if isinstance(member, Shardable)]


# ---- what every rank does -------------------------------------------------------------------------


def _shard_members(team: Team, device: str) -> None:
    members = _shardable(team.members)
    for member in members:
        for holder in member.holders():
            shard(holder.network, device)
    for member in members:
        if member.holders():
            member.take_up(device)


def _gather_networks(
    member: Shardable, again: bool, into: list[nn.Module] | None = None, places: list[Any] | None = None
) -> None:
    """Fill `into` with the member's networks; `again`: but for those that are not wanted again."""
    for k, holder in enumerate(member.holders()):
        if holder.again or not again:
            whole_network(holder.network, None if into is None else into[k], "cpu" if places is None else places[k])


def _gather_tensors(member: Any, tensors: Tensors, into: dict[str, torch.Tensor] | None = None) -> None:
    whole_tensors(tensors(member), into)


def _spread_tensors(member: Any, tensors: Tensors, whole: Mapping[str, torch.Tensor] | None = None) -> None:
    into = tensors(member)
    if whole is not None:
        check_alike(whole, into)
    spread(whole, into)
