"""What a folder holds, less what may differ between two runs of the same commands: times, memory, dates."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from legibility.files import is_temporary

UNSETTLED = {
    "created",
    "seconds",
    "wall_seconds",
    "cpu_seconds",
    "peak_memory_mb",
    "last_session_seconds",
    "git_commit",
    "command",
}
"""Keys of JSON files that name a time, a date or memory; the commit, which git is asked for with a time limit; and the
command that was typed, which names its folder."""
_TIMES = re.compile(
    rb"Took [^<]*peak memory [\d,]+ MB|<dt>commit</dt><dd>[^<]*|<dt>command</dt><dd><code>[^<]*|[\d.]+ CPU minutes in all cells, [\d,]+ MB"
)


def settled(folder: Path) -> dict[str, bytes]:
    """Content of every file by path inside the folder, without times, dates and memory.

    A hash in DONE of a file that holds such a thing goes with it. Hidden temporary files that a killed command left
    are no content; the next command that writes in a run sweeps them away.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not is_temporary(path):
            found[str(path.relative_to(folder))] = _settled(path)
    return found


def _settled(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".html":
        return _TIMES.sub(b"", data)
    if path.suffix == ".json" or path.name == "DONE":
        try:
            record = json.loads(data)
        except ValueError:
            return data
        kept = _without(record)
        if path.name == "DONE" and isinstance(hashes := kept.get("sha256"), dict):
            kept["sha256"] = {name: value for name, value in hashes.items() if not _names_times(path.parent / name)}
        return json.dumps(kept, sort_keys=True).encode()
    return data


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without(v) for k, v in value.items() if k not in UNSETTLED}
    return [_without(v) for v in value] if isinstance(value, list) else value


def _names_times(path: Path) -> bool:
    """Whether a file that DONE has a hash of holds a time itself, so that its hash differs for that alone."""
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        record = json.loads(path.read_bytes())
    except ValueError:
        return False
    return _without(record) != record


def differences(found: dict[str, bytes], expected: dict[str, bytes], rounding: float = 0.0) -> list[str]:
    """Files that differ or that one side lacks. rounding: numbers in JSON files that are as near as this are the same."""
    return sorted(
        name
        for name in found.keys() | expected.keys()
        if found.get(name) != expected.get(name)
        and not (rounding and name.endswith(".json") and _near(found.get(name), expected.get(name), rounding))
    )


def _near(one: bytes | None, other: bytes | None, rounding: float) -> bool:
    try:
        return one is not None and other is not None and _same(json.loads(one), json.loads(other), rounding)
    except ValueError:
        return False


def _same(one: Any, other: Any, rounding: float) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k], rounding) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b, rounding) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.0, abs_tol=rounding)
    return bool(one == other)
