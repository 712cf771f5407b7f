"""What a rank holds and sends where ranks share a network's weights (`compute.shard`, `legibility.sharding`)."""

from __future__ import annotations

from legibility.planning.shapes import ModelShape
from legibility.planning.work import width

MASTER = 4  # bytes of a trained weight between steps, of its gradient, and of each moment: float32


def shared_state(shape: ModelShape, dtype: str, ranks: int) -> tuple[float, float, float]:
    """Bytes of a rank's parts of weights, gradients and AdamW's two moments; trained weights are kept in float32."""
    trained = shape.trained * MASTER
    frozen = shape.parameters * width(dtype) if shape.adapters else 0.0
    return (frozen + trained) / ranks, trained / ranks, 2 * trained / ranks


def whole_copy(shape: ModelShape, dtype: str) -> float:
    """Bytes of all weights, gathered to sample or to score."""
    return shape.parameters * width(dtype) + shape.adapters * MASTER


def passing(shape: ModelShape, dtype: str) -> float:
    """The most bytes that are whole for a moment of an update: what stands outside of layers, and two layers, of which
    one is gathered while the other is used; and gradients of the first and of one layer, before they are shared out."""
    layer, outside = shape.linear / shape.layers, shape.parameters - shape.linear
    trained = (0.0, shape.adapters / shape.layers) if shape.adapters else (outside, layer)
    return (outside + 2 * layer) * width(dtype) + 2 * shape.adapters / shape.layers * MASTER + sum(trained) * MASTER


def pass_bytes(shape: ModelShape, dtype: str, *, train: bool) -> float:
    """Bytes that go round in one pass, as a ring's sum of so many would: a gathering is half a sum (Patarasuk & Yuan 2009).

    A forward pass gathers the weights; a backward pass gathers them again and shares out the trained ones' gradients.
    """
    whole = whole_copy(shape, dtype)
    return (2 * whole + shape.trained * MASTER) / 2 if train else whole / 2
