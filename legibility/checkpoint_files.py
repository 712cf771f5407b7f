"""A checkpoint of a phase under way, on disk: where it stands in the phase's hidden folder, what it holds, what keeps it whole.

`.prover.tmp/.checkpoints.tmp/step_00040/` has the tensors that training changes (weights and the optimizer's moments, as
safetensors, written and read by torch's distributed checkpoint, so that nothing is unpickled), `state.json` (the few
numbers beside them) and, written last, `checkpoint.json`: what the phase was begun with, and size and hash of every file
here and of every file of the phase so far. So what has its `checkpoint.json` is whole, and the phase's folder can be
put back to that moment. The last two are kept.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from legibility.errors import UserError
from legibility.files import is_temporary, sha256, sync
from legibility.sharding import own_part, part_like
from legibility.stored import Stored, StoredT, read_stored, write_stored

CHECKPOINTS = ".checkpoints.tmp"
RECORD, STATE = "checkpoint.json", "state.json"
KEPT = 2
_STEP = "step_"


class Origin(Stored):
    """What a phase was begun with: its checkpoint is of use only where all of it is the same."""

    phase: str = Field(description="The phase's folder inside the run.")
    settings: dict[str, Any] = Field(description="The settings that may decide what it makes, as section.key.")
    packages: dict[str, str | None] = Field(description="Versions of the packages it was begun with.")
    inputs: dict[str, str] = Field(
        description="What it rests on: a hash of each earlier phase's files, and facts such as its number of steps."
    )


class FileSoFar(Stored):
    """A file of the phase at the moment of a checkpoint. One that only grows is cut back to it."""

    size: int = Field(description="Its size in bytes.")
    sha256: str = Field(description="SHA-256 of that many bytes.")


class CheckpointRecord(Stored):
    """checkpoint.json: the last file of a checkpoint."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    step: int = Field(description="Steps done.")
    seconds: float = Field(description="Wall time of the phase so far, in all sessions.")
    origin: Origin = Field(description="What the phase was begun with.")
    files: dict[str, FileSoFar] = Field(description="Files of the phase so far, by path inside its folder.")
    sha256: dict[str, str] = Field(description="SHA-256 of the checkpoint's own files.")


class Damaged(Exception):
    """A checkpoint that is not what was written; says what is wrong with it."""


# --- Where they stand ------------------------------------------------------------------------------


def found_checkpoints(work: Path) -> list[Path]:
    """Folders of the whole checkpoints in a phase's hidden folder, oldest first."""
    return sorted(p.parent for p in (work / CHECKPOINTS).glob(f"{_STEP}*/{RECORD}"))


def newest_step(work: Path) -> int | None:
    """The step to which a phase's hidden folder is kept; None: it holds no checkpoint."""
    found = found_checkpoints(work)
    return int(found[-1].name.removeprefix(_STEP)) if found else None


def seconds_so_far(work: Path) -> float:
    """Wall time behind a phase's newest checkpoint; 0 where there is none that can be read."""
    for place in reversed(found_checkpoints(work)):
        try:
            return read_record(place).seconds
        except Damaged:
            continue
    return 0.0


# --- Writing and reading ---------------------------------------------------------------------------


def write_checkpoint(
    work: Path,
    record: CheckpointRecord,
    tensors: Mapping[str, torch.Tensor],
    state: Stored,
    flushed: Mapping[str, FileSoFar] | None = None,
) -> Path:
    """Write a checkpoint beside the others and drop all but the last two. What fails leaves nothing behind.

    `record.sha256` is filled in here. flushed: files of the phase that an earlier checkpoint brought to the disk already.
    Raises OSError for what cannot be written.
    """
    fresh = [work / name for name, file in record.files.items() if (flushed or {}).get(name) != file]
    place = work / CHECKPOINTS / f"{_STEP}{record.step:05d}"
    scratch = place.with_name(f".{place.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _save(tensors, scratch)
        write_stored(scratch / STATE, state)
        for file in fresh:
            sync(file)
        own = [p for p in sorted(scratch.iterdir()) if p.is_file()]
        for file in own:
            sync(file)
        hashes = {p.name: sha256(p) for p in own}
        write_stored(scratch / RECORD, record.model_copy(update={"sha256": hashes}))
        for folder in {scratch, *(file.parent for file in fresh)}:
            sync(folder)
        shutil.rmtree(place, ignore_errors=True)  # a damaged one of the same step
        os.replace(scratch, place)
        sync(place.parent)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    for older in found_checkpoints(work)[:-KEPT]:
        shutil.rmtree(older)
    return place


def read_record(place: Path) -> CheckpointRecord:
    """What a checkpoint says of itself. Raises Damaged."""
    try:
        return read_stored(place / RECORD, CheckpointRecord, fix="")
    except UserError as error:
        raise Damaged(str(error).rstrip("; ")) from None


def read_checkpoint(
    work: Path, place: Path, record: CheckpointRecord, state: type[StoredT]
) -> tuple[dict[str, torch.Tensor], StoredT]:
    """Tensors and state of a checkpoint, every hash checked, those of the phase's files too. Raises Damaged."""
    for name, expected in record.sha256.items():
        file = place / name
        if not file.is_file() or sha256(file) != expected:
            raise Damaged(f"{file}: missing or changed")
    for name, known in record.files.items():
        file = work / name
        if not file.is_file() or file.stat().st_size < known.size or sha256(file, known.size) != known.sha256:
            raise Damaged(f"{file}: missing or changed")
    try:
        return _load(place), read_stored(place / STATE, state, fix="")
    except UserError as error:
        raise Damaged(str(error).rstrip("; ")) from None


def go_back(work: Path, record: CheckpointRecord) -> None:
    """Make a phase's folder what it was at a checkpoint: later files and checkpoints go, those that grew are cut."""
    for later in (work / CHECKPOINTS).iterdir():
        if later.name > f"{_STEP}{record.step:05d}" or is_temporary(later):
            shutil.rmtree(later) if later.is_dir() else later.unlink()
    for name, path in phase_files(work):
        if name not in record.files:
            path.unlink()
        elif path.stat().st_size > record.files[name].size:
            os.truncate(path, record.files[name].size)
    for folder in sorted((p for p in work.rglob("*") if p.is_dir()), reverse=True):
        if folder.name != CHECKPOINTS and not any(folder.iterdir()):
            folder.rmdir()


def start_over(work: Path) -> None:
    """Empty a phase's folder, its checkpoints first."""
    shutil.rmtree(work / CHECKPOINTS, ignore_errors=True)
    for path in work.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def phase_files(work: Path) -> Iterator[tuple[str, Path]]:
    """Files of a phase under way, by path inside its folder, without its checkpoints."""
    for path in sorted(work.rglob("*")):
        if path.is_file() and CHECKPOINTS not in path.relative_to(work).parts:
            yield path.relative_to(work).as_posix(), path


# --- Tensors ---------------------------------------------------------------------------------------


def trained_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What training changes, by name: the weights with gradients and the optimizer's state of each.

    They are the tensors themselves, not copies. The optimizer may be one of a part of the model; one that has not made a
    step gets the state of one that begins. Weights that had no gradient yet (an expert that no token has met) have the
    state that their first step would begin with, so that a checkpoint names the same tensors whatever was learned.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not optimizer.state:
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict  # a second to import

        get_optimizer_state_dict(model, optimizer)  # which makes a step of learning rate 0
    known = next(iter(optimizer.state.items()), None)
    for p in (p for group in optimizer.param_groups for p in group["params"] if p.requires_grad):
        if known is not None and p not in optimizer.state:
            like = {key: p.detach() if value.shape == known[0].shape else value for key, value in known[1].items()}
            optimizer.state[p] = {key: torch.zeros_like(tensor) for key, tensor in like.items()}
    found = {f"weights.{name}": p.detach() for name, p in trained}
    for name, p in trained:
        found |= {f"{key}.{name}": value for key, value in optimizer.state.get(p, {}).items()}
    return found


def check_alike(saved: Mapping[str, torch.Tensor], into: Mapping[str, torch.Tensor]) -> None:
    """Raises UserError where saved tensors are not those that there are places for, by name and shape."""
    other = saved.keys() ^ into.keys() or {n for n in into if into[n].shape != saved[n].shape}
    if other:
        raise UserError(
            f"the phase's checkpoint is of another model ({min(other)}, say); delete its hidden folder to begin it again"
        )


@torch.no_grad()
def put_back(saved: Mapping[str, torch.Tensor], into: Mapping[str, torch.Tensor]) -> None:
    """Copy saved tensors into those of the same names, of spread ones this rank's part. Raises UserError where names or shapes differ."""
    check_alike(saved, into)
    for name, tensor in into.items():
        own_part(tensor).copy_(part_like(saved[name], tensor))


def _save(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    import torch.distributed.checkpoint as dcp  # a second to import
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.save(
            dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True), no_dist=True
        )


def _load(folder: Path) -> dict[str, torch.Tensor]:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    known = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    tensors: dict[str, Any] = {
        name: torch.empty(about.size, dtype=about.properties.dtype)
        for name, about in known.items()
        if isinstance(about, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return tensors
