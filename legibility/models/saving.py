"""The one way in which weights are written: safetensors opens its files to their owner alone, whatever the umask says.

A run folder whose weights nobody else can read is half a run to everyone else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def save_model(model: Any, folder: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
    """`model.save_pretrained(folder)`, with file modes as the umask says. tensors: by name, instead of the model's own."""
    model.save_pretrained(folder, **({} if tensors is None else {"state_dict": dict(tensors)}))
    for file in folder.glob("*.safetensors"):
        file.chmod(mode(0o666))


def save_tensors(tensors: Mapping[str, torch.Tensor], file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a safetensors file, with its mode as the umask says. metadata: what its head holds besides."""
    save_file(
        {name: x.contiguous().cpu() for name, x in tensors.items()}, file, None if metadata is None else dict(metadata)
    )
    file.chmod(mode(0o666))


def mode(asked: int) -> int:
    """The permission bits that a file or folder gets which asks for these."""
    mask = os.umask(0o077)  # there is no way to read it without setting it
    os.umask(mask)
    return asked & ~mask
