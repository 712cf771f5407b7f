"""From a YAML file and `section.key=value` overrides to settings, with errors that name file, field and fix."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from legibility.config import Config, SettingsT
from legibility.errors import UserError


def load_config(path: str | Path, overrides: Sequence[str] = (), schema: type[SettingsT] = Config) -> SettingsT:
    """Read and validate a YAML file plus `section.key=value` overrides, against the settings of `schema`.

    Raises UserError for a missing or unreadable file, a malformed override, or a bad setting.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such config file; give the path of a YAML file, for example configs/nano.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"{path}: the file must hold a mapping of sections, not a {type(data).__name__}")
    for override in overrides:
        _apply_override(data, override)
    return parse_config(data, str(path), schema)


def override_config(config: Config, overrides: Sequence[str], sections: Sequence[str]) -> Config:
    """`config` with `section.key=value` overrides. Raises UserError for one outside `sections`, or a bad one."""
    data = config.model_dump(mode="json")
    for override in overrides:
        if override.split(".")[0] not in sections:
            raise UserError(f"override {override!r}: only settings of {', '.join(sections)} can be changed here")
        _apply_override(data, override)
    return parse_config(data, "settings")


def parse_config(data: dict[str, Any], where: str, schema: type[SettingsT] = Config) -> SettingsT:
    """Validate a plain mapping; `where` names its origin in errors."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {_first_error(error, schema)}") from None


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"override {override!r}: write section.key=value, for example ppo.steps=3")
    *parents, leaf = key.split(".")
    node: Any = data
    for part in parents:
        if isinstance(node, dict) and node.get(part) is None:
            node[part] = {}  # also turns on a section that was null
        node = node[part] if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UserError(f"override {override!r}: {part!r} is not a section")
    try:
        node[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"override {override!r}: the value is not valid YAML") from None


def _first_error(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first problem as `field: what is wrong; fix`."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "settings"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1], schema)
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}" if known else "remove it"
        return f"{field}: unknown key; {hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    shown = repr(first["input"])
    got = f" (got {shown})" if len(shown) < 80 and first["type"] != "value_error" else ""
    return f"{field}: {message}{got}{more}"


def _known_keys(path: Sequence[Any], schema: type[BaseModel]) -> list[str]:
    models: list[Any] = [schema]
    for part in path:
        tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        inner = [m for field in fields for m in _models(field.annotation)]
        models = tagged or inner or models  # a list's index or a mapping's key names no field
    return [name for m in models for name in m.model_fields]


def _models(annotation: Any) -> list[Any]:
    """The settings classes an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models(part)]
