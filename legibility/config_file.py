"""From a YAML file and `section.key=value` overrides to settings, with errors that name file, field and fix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from legibility.config import Config
from legibility.errors import UserError
from legibility.settings import Settings, SettingsT, parse_settings, read_yaml, shortened
from legibility.shipped_configs import find_config, shipped
from legibility.yaml_text import parse_yaml


@overload
def load_config(path: str | Path, overrides: Sequence[str] = ...) -> Config: ...


@overload
def load_config(path: str | Path, overrides: Sequence[str], schema: type[SettingsT]) -> SettingsT: ...


def load_config(path: str | Path, overrides: Sequence[str] = (), schema: type[Settings] = Config) -> Settings:
    """Read and validate a YAML file plus `section.key=value` overrides, against the settings of `schema`.

    path: a file, or the name of a config that comes with the package ("nano").
    Raises UserError for a missing or unreadable file, a config of another command, a malformed override, or a bad
    setting.
    """
    known, place = shipped(path), find_config(path)
    if known is not None and (known.command == "train") != issubclass(schema, Config):
        raise UserError(f"{path}: a config of another command; legibility {known.command} {path}")
    data = place.paths_from_here(read_yaml(place.file))
    for override in overrides:
        _apply_override(data, override)
    return parse_settings(data, str(path), schema)


def override_config(config: Config, overrides: Sequence[str], allowed: Sequence[str]) -> Config:
    """`config` with `section.key=value` overrides.

    allowed: the sections, or single dotted settings, that may be changed. Raises UserError for an override
    of anything else, or a bad one.
    """
    data = config.model_dump(mode="json")
    for override in overrides:
        name = override.partition("=")[0]
        name = Config.renamed.get(name, name)
        if not any(name == a or name.startswith(f"{a}.") for a in allowed):
            raise UserError(f"{_named(override)}: only settings of {', '.join(allowed)} can be changed here")
        _apply_override(data, override)
    return parse_settings(data, "settings", Config)


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"{_named(override)}: write section.key=value, for example ppo.steps=3")
    *parents, leaf = key.split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}  # also turns on a section that was null
        node = node[part] if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UserError(f"{_named(override)}: {shortened(part)!r} is not a section")
    try:
        node[leaf] = parse_yaml(value)
    except ValueError as error:
        raise UserError(f"{_named(override)}: the value is {error}") from None


def _named(override: str) -> str:
    return f"override {shortened(override, 100)!r}"
