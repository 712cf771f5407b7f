"""The one way to transformers' `from_pretrained`: no code from model folders, no waiting for an absent hub, short errors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.nn import ModuleList
from transformers.utils import cached_file, extract_commit_hash
from transformers.utils import logging as hf_logging

from legibility.divergence import all_finite
from legibility.errors import UserError
from legibility.hub import hub_reachable, only_what_answers, switched_off

ADAPTER = "adapter_config.json"
OFFLINE = "the hub cannot be reached"


def pretrained(kind: Any, source: str, role: str, revision: str | None = None, **options: Any) -> Any:
    """`kind.from_pretrained(source)`, of a folder or of a hub id at a revision. `role` names the setting in errors.

    Code that a model brings along (`auto_map`) is never run, and nobody is asked whether it may.
    Raises UserError where there is no such model, or only with code of its own.
    """
    with readable_errors(source, role):
        return kind.from_pretrained(source, trust_remote_code=False, **hub_options(source, revision), **options)


def pretrained_model(
    kind: Any,
    source: str,
    role: str,
    revision: str | None = None,
    *,
    may_lack: Callable[[Any, str], bool] = lambda model, name: False,
    **options: Any,
) -> Any:
    """`pretrained` for a model, all of whose weights are in its files but those it `may_lack` (model, name).

    Transformers draws what a file lacks at random and drops what its config.json has no place for, and nobody would
    notice. Raises UserError for both, for weights that are no finite numbers, and as `pretrained` does.
    """
    model, found = pretrained(kind, source, role, revision, output_loading_info=True, **options)
    lacking = sorted(name for name in found["missing_keys"] if not may_lack(model, name))
    if lacking:
        raise UserError(
            f"{role}.model: {source} lacks {len(lacking)} of the weights of {type(model).__name__} ({lacking[0]}, say), "
            "which would be random; its files are incomplete, its config.json is of another model, or it has no such head"
        )
    surplus = sorted(name for name in found["unexpected_keys"] if _is_cut(model, name))
    if surplus:
        raise UserError(
            f"{role}.model: {source} has {len(surplus)} weights that its config.json leaves no place for ({surplus[0]}, "
            "say), so they would be dropped; give the config.json that belongs to these weights"
        )
    refuse_broken_weights(model, source, role)
    return model


def _is_cut(model: Any, name: str) -> bool:
    """Whether a weight that a model did not take belongs to it: to a layer beyond its last, or to a module it has.

    What is of another head or another task (a language model's head in a classifier's file) is left aside rightly.
    """
    prefix = f"{model.base_model_prefix}."
    return any(_has_owner(model, known) for known in (name, prefix + name, name.removeprefix(prefix)))


def _has_owner(model: Any, name: str) -> bool:
    owner = model
    *path, _ = name.split(".")
    for part in path:
        if isinstance(owner, ModuleList) and part.isdigit() and int(part) >= len(owner):
            return True
        owner = owner._modules.get(part)
        if owner is None:
            return False
    return bool(owner._parameters)


def refuse_broken_weights(model: Any, source: str, role: str) -> None:
    """Raises UserError for a model with weights that are nan or infinite: every number it gives would be, too."""
    broken = [name for name, weight in model.named_parameters() if not all_finite([weight])]
    if broken:
        raise UserError(
            f"{role}.model: {source} has weights that are no finite numbers ({broken[0]}, say); its training has diverged "
            "or its files are damaged; use another checkpoint"
        )


def hub_options(source: str, revision: str | None) -> dict[str, Any]:
    """What a hub id needs beside its name: its revision, and the local cache alone where the hub is out of reach."""
    if Path(source).is_dir():
        return {}
    return {"local_files_only": not hub_reachable(), **({} if revision is None else {"revision": revision})}


def commit_of(source: str, revision: str | None, role: str) -> str | None:
    """The commit that a revision of a hub id (None: the newest) stands for now; None for a folder.

    Raises UserError for the revision of a folder, which has none, and where the hub has no such model.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise UserError(f"{role}.revision: {source} is a folder, and only hub ids have revisions; set it to null")
        return None
    for name in ("config.json", ADAPTER):
        file = _hub_file(source, name, role, revision)
        if file is not None:
            commit: str | None = extract_commit_hash(file, None)
            return commit
    with readable_errors(source, role):
        raise OSError(f"neither config.json nor {ADAPTER} at revision {revision or 'main'}")


def has_file(source: str, name: str, role: str, revision: str | None = None) -> bool:
    """Whether a folder, or a hub id at a revision, has a file of this name. Raises UserError without such a model."""
    if Path(source).is_dir():
        return (Path(source) / name).is_file()
    return _hub_file(source, name, role, revision) is not None


def _hub_file(source: str, name: str, role: str, revision: str | None) -> str | None:
    with readable_errors(source, role):
        found: str | None = cached_file(
            source, name, _raise_exceptions_for_missing_entries=False, **hub_options(source, revision)
        )
        return found


@contextmanager
def readable_errors(source: str, role: str) -> Iterator[None]:
    """Quiet the libraries' loading reports and turn their failures into one line. A folder never asks the hub."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), only_what_answers(needed=not Path(source).is_dir()):
            warnings.simplefilter("ignore")
            logging.captureWarnings(False)
            yield
    except UserError:
        raise
    except Exception as error:  # transformers raises many types here: OSError, ValueError, SafetensorError, …
        raise UserError(f"{role}.model: cannot load {source!r}{_why(source, error)}") from None
    finally:
        hf_logging.set_verbosity(level)


def _why(source: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    if "trust_remote_code" in str(error) or "custom code" in str(error):
        return (
            ": it needs code of its own, which is never run (trust_remote_code stays off); "
            "use a model of an architecture that transformers knows"
        )
    if not Path(source).is_dir() and switched_off():
        return f" (the hub is switched off by the environment): {reason}; give a hub id or a folder with a saved model"
    if not Path(source).is_dir() and not hub_reachable():
        return (
            f": {OFFLINE} and its cache has no such model or revision; give a folder with a saved model, or go online"
        )
    return f": {reason}; give a hub id or a folder with a saved model"
