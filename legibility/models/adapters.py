"""LoRA folders as models: the base that an adapter names, with the adapter merged into its weights.

What follows (a warm start, fresh adapters, a frozen reference, a verifier's head) then starts from the tuned
weights, not from the raw base.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import find_adapter_config_file

from legibility.errors import UserError
from legibility.models.pretrained import ADAPTER, hub_options, readable_errors, refuse_broken_weights


@dataclass(frozen=True)
class Adapter:
    """An adapter's folder or hub id, the model it was trained on, and what it was trained for (peft's task type)."""

    place: str
    revision: str | None
    base: str
    base_revision: str | None
    task: str | None


def adapter_at(source: str, role: str, revision: str | None = None) -> Adapter | None:
    """The adapter in a folder or at a hub id; None for a whole model. Raises UserError where it names no base."""
    if Path(source).is_dir():
        file = Path(source) / ADAPTER
        found = str(file) if file.is_file() else None
    else:
        with readable_errors(source, role):
            found = find_adapter_config_file(source, **hub_options(source, revision))
    if found is None:
        return None
    facts, base = _facts(Path(found))
    if not isinstance(base, str) or not base:
        raise UserError(
            f"{role}.model: {found} does not name the model it adapts (base_model_name_or_path); "
            "write it in, or merge the adapter into its base and give that folder"
        )
    if Path(source).is_dir():
        base = _place_of(base, Path(source))
        _check_chain(source, base, role)
    return Adapter(source, revision, base, facts.get("revision"), facts.get("task_type"))


def _facts(file: Path) -> tuple[dict[str, Any], Any]:
    """What an adapter's settings say, and the base they name (None: they cannot be read)."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return facts, facts["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}, None


def _place_of(base: str, adapter: Path) -> str:
    """A base as its adapter names it, or beside the adapter, where the two were moved together."""
    beside = adapter / base
    return str(beside) if not Path(base).is_dir() and beside.is_dir() else base


def _check_chain(source: str, base: str, role: str) -> None:
    """Raises UserError where adapters adapt each other in a circle, so that there is no model at the end."""
    seen, place = {Path(source).resolve()}, base
    while (Path(place) / ADAPTER).is_file():
        folder = Path(place).resolve()
        if folder in seen:
            raise UserError(
                f"{role}.model: the adapter in {source} adapts itself (base_model_name_or_path); "
                "write the model in that it was trained on"
            )
        seen.add(folder)
        _, named = _facts(folder / ADAPTER)
        if not isinstance(named, str) or not named:
            return  # whoever loads that adapter says so
        place = _place_of(named, folder)


def merged(model: Any, adapter: Adapter, role: str) -> Any:
    """The base `model` with the adapter's change added to its weights; its name is then the adapter's.

    (A fresh adapter names what it was trained on by that, so that the two are found together again.) Raises UserError where the adapter does
    not fit, is broken, or cannot be merged (prompts and prefixes are no weights).
    """
    from peft import PeftModel, get_peft_model_state_dict  # slow to import; only adapters need it
    from peft.utils import load_peft_weights

    with readable_errors(adapter.place, role):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            tuned: Any = PeftModel.from_pretrained(model, _folder(adapter))
        if any("missing adapter keys" in str(w.message) for w in said):
            raise UserError(
                f"{role}.model: the adapter in {adapter.place} lacks weights that its settings ask for; "
                "save it again, or give its merged model"
            )
        if not hasattr(tuned, "merge_and_unload"):
            kind = tuned.active_peft_config.peft_type
            raise UserError(
                f"{role}.model: the adapter in {adapter.place} ({getattr(kind, 'value', kind)}) cannot be merged into weights; "
                "use a LoRA adapter or a whole model"
            )
        surplus = sorted(set(load_peft_weights(_folder(adapter), device="cpu")) - set(get_peft_model_state_dict(tuned)))
        if surplus:
            raise UserError(
                f"{role}.model: the adapter in {adapter.place} has {len(surplus)} weights that {adapter.base} has no place "
                f"for ({surplus[0]}, say); it is of another model, or of another version of it"
            )
        whole = tuned.merge_and_unload()
        refuse_broken_weights(whole, adapter.place, role)
        whole.name_or_path = str(Path(adapter.place).resolve()) if Path(adapter.place).is_dir() else adapter.place
        return whole


def _folder(adapter: Adapter) -> str:
    """The adapter's folder, fetched from the hub where it is there."""
    if Path(adapter.place).is_dir():
        return adapter.place
    from huggingface_hub import snapshot_download  # slow to import, as above

    options = hub_options(adapter.place, adapter.revision)
    return str(snapshot_download(adapter.place, allow_patterns=["adapter_*"], **options))
