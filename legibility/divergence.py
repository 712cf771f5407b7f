"""Training that has diverged ends where it did, with the step and the likely setting.

One number that is none spreads into all weights without a word, and a run of such weights would end like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from legibility.errors import UserError

if TYPE_CHECKING:
    import torch


def refuse_divergence(
    where: str, figures: Mapping[str, float], likely: str, weights: Iterable[torch.Tensor] = ()
) -> None:
    """Raise UserError for the first figure that is not finite, or for weights that are not.

    where: phase and step, for people. likely: the setting that is probably to blame, as advice.
    """
    broken = [f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value)]
    if not broken and not all_finite(weights):
        broken = ["weights are no finite numbers any more"]
    if broken:
        raise UserError(f"{where}: {broken[0]}, so training has diverged; {likely}")


def all_finite(weights: Iterable[torch.Tensor]) -> bool:
    """Whether no number in these tensors is nan or infinite; of spread ones, in this rank's parts."""
    import torch  # slow to import, and settings are read without it

    from legibility.sharding import own_part

    found = [own_part(w.detach()).isfinite().all() for w in weights]
    return not found or bool(torch.stack(found).all())
