"""The value head: one linear map from the policy's last hidden state, or that of a critic of its own, to a value per token.

Zero-initialised, so the first advantages are the returns themselves. Saved beside the policy as
`value_head.safetensors` and loaded with it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from legibility.models.saving import save_tensors

FILE_NAME = "value_head.safetensors"


class ValueHead(nn.Module):
    """hidden (..., hidden_size) -> values (...,). With detach=True no gradient reaches the policy."""

    def __init__(self, hidden_size: int, detach: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.detach = detach

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Values (...,) of hidden states (..., hidden_size)."""
        if self.detach:
            hidden = hidden.detach()
        return self.linear(hidden.to(self.linear.weight.dtype)).squeeze(-1)

    def save(self, folder: Path) -> None:
        """Write `value_head.safetensors` into the folder."""
        save_tensors(self.state_dict(), folder / FILE_NAME)

    def load(self, folder: Path) -> ValueHead:
        """Load weights saved by `save`. Raises FileNotFoundError where there are none."""
        self.load_state_dict(load_file(folder / FILE_NAME))
        return self


def critic_of(policy: Any) -> Any:
    """A copy of a policy's network whose hidden states a value head reads.

    Nobody reads its output layer, so that is not trained: no gradient, no moments; where it is the embeddings too, it is.
    """
    critic = copy.deepcopy(policy)
    embedded = {id(p) for p in critic.get_input_embeddings().parameters()}
    output = critic.get_output_embeddings()
    for parameter in () if output is None else output.parameters():
        if id(parameter) not in embedded:
            parameter.requires_grad_(False)
    return critic
