"""What torch really does in a block, operation by operation: products, bytes moved, calls; and what it keeps for later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "_scaled_dot_product")
VIEWS = ("view", "unsafe_view", "reshape", "t", "transpose", "expand", "split", "slice", "select", "unsqueeze", "alias",
         "detach", "squeeze", "permute", "as_strided", "empty", "split_with_sizes", "unfold", "lift")  # fmt: skip


def _attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _attention_back(grad: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, q, k, v))


def _added(_: Any, a: Any, b: Any, *__: Any, **___: Any) -> int:
    return int(2 * a[0] * a[1] * b[1])


def products() -> FlopCounterMode:
    """Torch's counter of FLOPs, with what it leaves out on a CPU: attention there, and products added in place."""
    aten = torch.ops.aten
    return FlopCounterMode(
        display=False,
        custom_mapping={
            aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_back,
            aten.addmm_: _added,
        },
    )


class Traffic(TorchDispatchMode):
    """Bytes read and written by everything but products and views, and operations started."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.calls, self.by_name = 0, 0, {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        name = function.__name__.split(".")[0].rstrip("_")
        if name.startswith(VIEWS) and name not in ("transpose_copy",):
            return out
        self.calls += 1
        if not name.startswith(PRODUCTS):
            leaves = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
            moved = sum(x.numel() * x.element_size() for x in leaves)
            self.bytes += moved
            self.by_name[name] = self.by_name.get(name, 0) + moved
        return out


@dataclass
class Kept:
    """Storages that autograd keeps for the backward pass; weights, which are there anyway, aside."""

    bytes: int = 0
    _seen: set[int] = field(default_factory=set)
    _alive: list[torch.Tensor] = field(default_factory=list)


@contextmanager
def kept_for_backward(model: Any) -> Iterator[Kept]:
    kept = Kept()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(x: torch.Tensor) -> torch.Tensor:
        place = x.untyped_storage().data_ptr()
        if place not in weights and place not in kept._seen:
            kept._seen.add(place)
            kept._alive.append(x)
            kept.bytes += x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        yield kept
