"""The result file of a long benchmark: begun, or gone on with part by part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legibility.errors import UserError

SAME = ("schema", "benchmark", "quick", "threads", "ranks", "commit", "machine")  # parts that differ in one do not mix


def opened(path: Path | None, fresh: dict[str, Any], resume: bool) -> dict[str, Any]:
    """`fresh`, or with `resume` what the file already holds.

    Raises UserError where the file exists and is not to be gone on with, or was measured otherwise.
    """
    if path is None or not path.exists():
        return fresh
    if not resume:
        raise UserError(f"{path}: exists already; go on with it by --resume, or give a new file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not a result file ({error}); give a new file") from None
    for key in SAME:
        if not isinstance(found, dict) or found.get(key) != fresh.get(key):
            raise UserError(f"{path}: was not measured with the same {key} as now; give a new file")
    return found


def store(path: Path | None, result: Mapping[str, Any]) -> None:
    """Replace the file at once, so that a stop in between loses nothing."""
    if path is not None:
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
        temporary.replace(path)
