"""A config of one's own: a shipped one written out as a file whose comments say what each setting does.

The comments are the settings' own descriptions, so the file explains itself where it is edited. As it is written it
plays exactly the game it was made from.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from legibility.config_file import load_config
from legibility.errors import UserError
from legibility.files import write_new
from legibility.settings import Settings
from legibility.shipped_configs import SHIPPED, ShippedConfig, shipped

WIDTH = 110
NAME = re.compile(r"\w[\w.-]*")


def new_config(name: str, base: str | Path, *, every: bool = False) -> tuple[Path, ShippedConfig]:
    """Write `name`.yaml into the working folder from a shipped config; returns the file and what it was made from.

    every: also the settings that `base` leaves at their defaults. Raises UserError for a name that is a path or taken,
    and for a base that is not shipped.
    """
    known = shipped(base)
    if known is None:
        raise UserError(f"--from {base}: not a shipped config; choose one of {', '.join(c.name for c in SHIPPED)}")
    stem = name.removesuffix(".yaml")
    if not NAME.fullmatch(stem):
        raise UserError(f"{name}: give a name of letters, digits, - and _, not a path; the file is written here")
    if shipped(stem) is not None:
        raise UserError(f"{stem}: a shipped config has that name; choose another")
    file = Path(f"{stem}.yaml")
    try:
        write_new(file, commented(shipped_settings(known), _head(file, known), every=every))
    except FileExistsError:
        raise UserError(f"{file}: exists already; choose another name, or move it away") from None
    return file, known


def shipped_settings(known: ShippedConfig) -> Settings:
    """The settings of a shipped config: a game's or an experiment's."""
    if known.command == "train":
        return load_config(known.name)
    from legibility.weak_to_strong.experiment_settings import ExperimentSettings  # slow to import

    return load_config(known.name, (), ExperimentSettings)


def commented(settings: Settings, head: str = "", *, every: bool = False) -> str:
    """Settings as YAML, each under its description. What was not set is left out, unless `every`."""
    return head + "\n".join(_lines(settings, every, 0)).lstrip("\n") + "\n"


def _head(file: Path, known: ShippedConfig) -> str:
    lines = (
        f"Made from {known.name} ({known.shows}).",
        f"Play it: legibility {known.command} {file}",
        "What is not here has its default. Any setting can be changed on the command line too, as section.key=value.",
    )
    return "".join(f"# {line}\n" for line in lines) + "\n"


def _lines(settings: BaseModel, every: bool, depth: int) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        if not every and name not in settings.model_fields_set:
            continue
        value = getattr(settings, name)
        about = field.description or (_first_line(value) if isinstance(value, BaseModel) else None)
        if depth == 0:
            yield ""
        if about:
            yield from _comment(about, depth)
        if isinstance(value, BaseModel):
            inner = list(_lines(value, every, depth + 1))
            yield f"{_indent(depth)}{name}:" + ("" if inner else " {}")
            yield from inner
        else:
            yield from _entry(name, value, every, depth)


def _entry(name: str, value: Any, every: bool, depth: int) -> Iterator[str]:
    """A setting that is no section; named or listed sections take a line each."""
    if isinstance(value, dict) and value and all(isinstance(v, BaseModel) for v in value.values()):
        yield f"{_indent(depth)}{name}:"
        for key, section in value.items():
            yield _indent(depth + 1) + _one_line({key: _plain(section, every)})
    elif isinstance(value, list) and value and all(isinstance(v, BaseModel) for v in value):
        yield f"{_indent(depth)}{name}:"
        for section in value:
            yield f"{_indent(depth + 1)}- {_flow(_plain(section, every))}"
    else:
        flow = None if isinstance(value, (list, dict)) else False  # a list on one line, as far as it goes
        text = yaml.safe_dump(
            {name: _plain(value, every)}, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=WIDTH
        )
        yield from textwrap.indent(text.rstrip("\n"), _indent(depth)).split("\n")


def _plain(value: Any, every: bool) -> Any:
    """Data as YAML has it: what JSON has, and numbers as keys."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=not every)
    return list(value) if isinstance(value, tuple) else value


def _one_line(data: dict[str, Any]) -> str:
    return _flow(data)[1:-1]


def _flow(data: dict[str, Any]) -> str:
    text = yaml.safe_dump(data, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.strip()


def _comment(text: str, depth: int) -> list[str]:
    start = f"{_indent(depth)}# "
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


def _first_line(settings: BaseModel) -> str:
    return (type(settings).__doc__ or "").strip().splitlines()[0]


def _indent(depth: int) -> str:
    return "  " * depth
