"""In which settings two configurations differ, and which may change while a run is played."""

from __future__ import annotations

from typing import Any, NamedTuple

from legibility.settings import Settings


class ChangedSetting(NamedTuple):
    """A setting, as section.key, with its value in either of two configurations."""

    name: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.name}: {self.before!r} -> {self.after!r}"


SERVER_CONTACT = ("transfer", "folder", "timeout", "connect_timeout", "parallel_requests", "nccl_host", "nccl_port")
"""Settings of compute.vllm that say how a server is talked to."""
CHANGEABLE = ("compute.checkpoint_every", *(f"compute.vllm.{name}" for name in SERVER_CONTACT))
"""Settings that may change while a run is played: nothing that it makes depends on them."""
SERVER = "compute.vllm.server"
"""A server may be another the next day; whether there is one may not."""


def changed_settings(old: Settings, new: Settings) -> list[ChangedSetting]:
    """The settings in which two configurations differ, but for those that may change."""
    found = different_settings(old.model_dump(mode="json"), new.model_dump(mode="json"))
    return [
        changed
        for changed in found
        if changed.name not in CHANGEABLE and not (changed.name == SERVER and changed.before and changed.after)
    ]


def different_settings(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[ChangedSetting]:
    """The settings in which two dumped configurations differ, in the order of their names."""
    changed: list[ChangedSetting] = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            changed += different_settings(a, b, f"{prefix}{key}.")
        elif a != b:
            changed.append(ChangedSetting(f"{prefix}{key}", a, b))
    return changed
