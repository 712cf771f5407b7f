"""Networks whose weights several ranks hold in parts, by FSDP2 (`torch.distributed.fsdp.fully_shard`).

`shard` turns an ordinary network into such a one, in place and a transformer layer at a time: a rank keeps its part of
every weight, of its gradient and of what the optimizer knows of it. There are two ways to compute with it. `through`
calls a function on a network, or on a layer of one, with whole weights that are gathered for the call alone, and for its
backward pass; so a step of training never holds more than a layer and what is outside of layers (embeddings, the output
layer). All ranks have to make the same calls in the same order. Inside `gathered` the whole network stands on every rank:
for sampling and scoring, where each makes as many calls as its texts want.

On networks that are not sharded both do nothing, and cost nothing. FSDP hooks a module's own forward; the package's
fast routes (legibility.models.flat) call parts of models by hand, and `through` is where the hooks are for them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MethodType
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
import torch.distributed as dist
from torch import nn

T = TypeVar("T")
WITHIN = "_within"  # the method that FSDP's hooks surround
SMALL = 50_000_000  # weights; a verifier of fewer stays whole on every rank: its parts would save less than they cost


def through(module: nn.Module, function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)`, in which the module's weights are whole. A sharded module's tensors must be in the result.

    Where gradients are wanted, what needs them has to be among the arguments and in what is returned (a tensor, or a
    tuple of some): by them FSDP knows when to gather the weights again and when to share out their gradients.
    """
    within = vars(module).get(WITHIN)
    return function(*arguments) if within is None else within(function, *arguments)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` was called on this very module."""
    return WITHIN in vars(module)


def is_part(tensor: torch.Tensor) -> bool:
    """Whether a tensor is spread over the ranks (a DTensor)."""
    return hasattr(tensor, "to_local")


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this rank holds of a tensor: all of one that is not spread."""
    spread: Any = tensor
    return spread.to_local() if is_part(tensor) else tensor


def whole_value(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, gathered from the ranks where it is spread over them; then all have to call it."""
    spread: Any = tensor
    return spread.full_tensor() if is_part(tensor) else tensor


def part_like(whole: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Of a whole tensor the part that this rank holds of another one; ranks do not speak. All of it where that is not spread."""
    if not is_part(tensor):
        return whole
    from torch.distributed.tensor import distribute_tensor

    spread: Any = tensor
    value = whole.to(own_part(tensor).device)
    return distribute_tensor(value, spread.device_mesh, spread.placements, src_data_rank=None).to_local()


def held_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes that this rank holds of some tensors, each counted once."""
    return sum(own.numel() * own.element_size() for own in map(own_part, {id(t): t for t in tensors}.values()))


@contextmanager
def gathered(*modules: nn.Module) -> Iterator[None]:
    """Whole weights of sharded networks on every rank, for a block without gradients. All ranks have to enter it."""
    with ExitStack() as stack:
        for module in filter(is_sharded, modules):
            stack.enter_context(_gathered(module))
        yield


@contextmanager
def _gathered(network: nn.Module) -> Iterator[None]:
    through(network, lambda: None)  # the first call must be the whole network's: it tells the layers whose they are
    units: list[Any] = [m for m in network.modules() if is_sharded(m)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


# ---- where networks stand ------------------------------------------------------------------------


@dataclass(frozen=True)
class Holder:
    """Where a network stands: an attribute of an object. again: whether it is wanted whole when the ranks part."""

    owner: Any
    name: str
    again: bool = True

    @property
    def network(self) -> nn.Module:
        """What stands there now."""
        found: nn.Module = getattr(self.owner, self.name)
        return found

    def put(self, network: nn.Module) -> None:
        """Let another network stand there."""
        setattr(self.owner, self.name, network)


@runtime_checkable
class Shardable(Protocol):
    """A member of a team that has networks to be spread."""

    def holders(self) -> list[Holder]:
        """Its networks, in an order that is the same on every rank; those of its own members are theirs."""

    def let_go(self) -> None:
        """Forget what refers to the networks' weights: an optimizer, say."""

    def take_up(self, device: str) -> None:
        """Go on with the networks that stand there now, whose weights are on a device."""


# ---- there and back -------------------------------------------------------------------------------


def root_of(network: Any) -> nn.Module:
    """The model in which a network's weights are: under a peft wrapper, which has none of its own, the base."""
    return network.get_base_model() if hasattr(network, "peft_config") else network


def hollow(network: nn.Module) -> nn.Module:
    """A copy of a network without its weights, which are on torch's meta device. Tied ones stay tied; buffers are copied."""
    empty = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in network.parameters()}
    return copy.deepcopy(network, dict(empty))


def shard(network: nn.Module, device: str) -> None:
    """Spread a network over all ranks, in place; every rank has to call it. Its weights are rank 0's.

    The other ranks may have a `hollow` one. device: "cpu" or "cuda", where the parts will be and which backend the ranks
    talk by; no rank puts more than a layer on it whole. Trained weights in a short type are kept in float32 from here on,
    and computed with in their own (`MixedPrecisionPolicy`), so that small updates are not lost.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    # named, because with several backends at hand FSDP would take the GPUs (pytorch#132471)
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    place = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)
    root = root_of(network)
    short = [p.dtype for p in root.parameters() if p.requires_grad and p.dtype in (torch.bfloat16, torch.float16)]
    policy = MixedPrecisionPolicy()
    if short:
        policy = MixedPrecisionPolicy(param_dtype=short[0], reduce_dtype=torch.float32, cast_forward_inputs=False)
    for unit in [*_layers(root), root]:
        _fill(root, unit, place)
        # the outermost too: at rest a network has its parts only, which the optimizer knows
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
        setattr(unit, WITHIN, MethodType(_call, unit))
        register_fsdp_forward_method(unit, WITHIN)


def _call(module: nn.Module, function: Callable[..., T], *arguments: Any) -> T:
    return function(*arguments)


def _layers(root: nn.Module) -> list[nn.Module]:
    """The modules that are gathered each by itself, inner ones first: those that transformers will not split.

    One that shares a weight with the rest of the model stays with the rest.
    """
    names = set(getattr(root, "_no_split_modules", None) or ())
    found = [m for m in root.modules() if type(m).__name__ in names and m is not root]
    return [unit for unit in reversed(found) if _own_weights(root, unit)]


def _own_weights(root: nn.Module, unit: nn.Module) -> bool:
    inside = set(unit.modules())
    others = {id(p) for m in root.modules() if m not in inside for p in m.parameters(recurse=False)}
    mine = [id(p) for p in unit.parameters()]
    return bool(mine) and others.isdisjoint(mine)


@torch.no_grad()
def _fill(root: nn.Module, unit: nn.Module, place: torch.device) -> None:
    """Give a unit's weights that are not spread yet rank 0's values, on the device and in the type they are kept in."""
    for parameter in [p for p in unit.parameters() if not is_part(p)]:
        value = (
            parameter.to(place)
            if dist.get_rank() == 0
            else torch.empty(parameter.shape, dtype=parameter.dtype, device=place)
        )
        value = value.contiguous()
        dist.broadcast(value, src=0)
        if parameter.requires_grad and value.dtype in (torch.bfloat16, torch.float16):
            value = value.float()
        _put(root, parameter, nn.Parameter(value, parameter.requires_grad))


def _put(root: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Put a parameter wherever another one is: tied places stay tied."""
    for module in root.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter is old:
                setattr(module, name, new)


@torch.no_grad()
def whole_network(network: nn.Module, empty: nn.Module | None, device: torch.device | str) -> None:
    """Put a sharded network's weights into the `empty` one (`hollow`) that it was made of. Every rank has to call it.

    They come on `device`, one after another, and in the types of the empty one. Rank 0 alone gives an empty one.
    """
    for name, parameter in network.named_parameters():
        value = whole_value(parameter)
        if empty is not None:
            old = empty.get_parameter(name)
            _put(empty, old, nn.Parameter(value.detach().to(device, old.dtype, copy=True), old.requires_grad))


# ---- training -------------------------------------------------------------------------------------


def parameter_groups(parameters: Sequence[nn.Parameter], **options: Any) -> list[dict[str, Any]]:
    """Groups for an optimizer, which takes no spread weights and whole ones in one."""
    kinds = ([p for p in parameters if is_part(p)], [p for p in parameters if not is_part(p)])
    return [{"params": kind, **options} for kind in kinds if kind]


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Clip gradients by their norm, which is that of all ranks' parts together. Returns it, as it was before."""
    parts = [p for p in parameters if is_part(p) and p.grad is not None]
    if not parts:
        return float(nn.utils.clip_grad_norm_(parameters, limit))
    others = [p for p in parameters if not is_part(p) and p.grad is not None]
    norm = whole_value(nn.utils.get_total_norm([p.grad for p in parts if p.grad is not None]))
    if others:
        rest = nn.utils.get_total_norm([p.grad for p in others if p.grad is not None])
        norm = torch.linalg.vector_norm(torch.stack([norm, rest.to(norm.device)]))
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for parameter in (*parts, *others):
        assert parameter.grad is not None
        own_part(parameter.grad).mul_(scale.to(parameter.grad.dtype))
    return float(norm)


@torch.no_grad()
def whole_tensors(tensors: Mapping[str, torch.Tensor], into: dict[str, torch.Tensor] | None) -> None:
    """Whole copies of named tensors in the CPU's memory, one after another. Every rank has to call it; one has `into`."""
    for name, tensor in tensors.items():
        value = whole_value(tensor)
        if into is not None:
            into[name] = value.detach().to("cpu", copy=True)


@torch.no_grad()
def spread(whole: Mapping[str, torch.Tensor] | None, into: Mapping[str, torch.Tensor]) -> None:
    """Copy rank 0's whole tensors into those of the same names, of which each rank holds its part. Every rank has to call it."""
    for name, tensor in into.items():
        own = own_part(tensor)
        value = torch.empty(tensor.shape, dtype=tensor.dtype, device=own.device)
        if whole is not None:
            value.copy_(whole[name])
        dist.broadcast(value, src=0)
        own.copy_(part_like(value, tensor))
