"""What every settings file rests on: a strict base class, and one printer of what is wrong with a setting.

A config, a weak-to-strong experiment and the protocol of a human study are all YAML files read by pydantic.
They share this base class, so that an unknown key is refused everywhere, and this printer, so that a bad
setting reads the same everywhere: `file: section.key: what is wrong (got value)`.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from legibility.errors import UserError
from legibility.files import refuse_pipe
from legibility.yaml_text import parse_yaml


class Settings(BaseModel):
    """Settings of a file or of one section: unknown keys are errors, and defaults are validated like everything else.

    Numbers are finite: an infinite or undefined one passes every bound and is felt hours later.

    `renamed`: old dotted name -> today's. An old name in a file is an error that tells the new one; in a
    stored run it is read under the new one.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)
    renamed: ClassVar[Mapping[str, str]] = {}


SettingsT = TypeVar("SettingsT", bound=Settings)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping a YAML settings file holds; an empty file is an empty mapping.

    Raises UserError where the file is missing, unreadable, not YAML or not a mapping.
    """
    path = Path(path)
    try:
        refuse_pipe(path)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path of a YAML file of settings") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give the path of a YAML file of settings"
        ) from None
    try:
        data = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise UserError(f"{path}: the file must hold a mapping of sections, not a {type(data).__name__}")
    return data


def parse_settings(data: Mapping[str, Any], where: str, schema: type[SettingsT]) -> SettingsT:
    """Validate a plain mapping against `schema`. `where` names its origin in errors.

    Raises UserError with one line for the first thing that is wrong.
    """
    for old, new in schema.renamed.items():
        if _holds(data, old):
            raise UserError(f"{where}: {old}: this setting has a new name; write {new} instead")
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {setting_error(error, schema)}") from None


def with_new_names(data: Mapping[str, Any], schema: type[Settings]) -> dict[str, Any]:
    """A copy of stored settings in which every old name of `schema` stands under its new one.

    Settings were once allowed to be infinite, which meant no limit; the largest number there is means the same.
    """
    result: dict[str, Any] = _copy(data)
    for old, new in schema.renamed.items():
        if _holds(result, old):
            *parents, leaf = old.split(".")
            value = _section(result, parents).pop(leaf)
            if parents and not _section(result, parents):  # a section of its own that is gone
                _section(result, parents[:-1]).pop(parents[-1])
            *parents, leaf = new.split(".")
            _section(result, parents).setdefault(leaf, value)
    return result


def setting_error(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first thing that is wrong, as `section.key: what; fix`, and how many more there are."""
    first = error.errors()[0]
    field = ".".join(shortened(str(part)) for part in first["loc"]) or "settings"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1], schema)
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}" if known else "remove it"
        return f"{field}: unknown key; {hint}{more}"
    message = shortened(first["msg"].removeprefix("Value error, "), 300)
    shown = repr_of(first["input"])
    got = f" (got {shown})" if len(shown) < 80 and first["type"] != "value_error" else ""
    return f"{field}: {message}{got}{more}"


def repr_of(value: object) -> str:
    """`repr` of a value that a user gave, whatever it is: of a number too long to write, what it is."""
    try:
        return repr(value)
    except ValueError:  # an int of more digits than Python writes, perhaps inside a list
        return "a number of thousands of digits"


def shortened(text: str, longest: int = 60) -> str:
    """Text of a user in a message: what is longer than `longest` characters is cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _known_keys(path: Sequence[Any], schema: type[BaseModel]) -> list[str]:
    models: list[type[BaseModel]] = [schema]
    for part in path:
        tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        inner = [m for field in fields for m in models_in(field.annotation)]
        models = tagged or inner or models  # a list's index or a mapping's key names no field
    return [name for m in models for name in m.model_fields]


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that an annotation mentions, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in models_in(part)]


def _holds(data: Mapping[str, Any], dotted: str) -> bool:
    node: Any = data
    for part in dotted.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True


def _section(data: dict[str, Any], parents: Sequence[str]) -> dict[str, Any]:
    for part in parents:
        data = data.setdefault(part, {})
    return data


def _copy(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {k: _copy(v) for k, v in data.items()}
    return sys.float_info.max if isinstance(data, float) and data == math.inf else data
