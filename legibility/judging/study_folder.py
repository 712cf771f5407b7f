"""The study folder: blinded files for raters, a sealed key for the analysis, checksums that tie them.

```
study/
  items.jsonl        blinded: item_id, problem, solution, in random order
  assignments.jsonl  blinded: slot and the item ids it sees, in its order (attention checks among them)
  study.yaml         the protocol (legibility.judging.protocol)
  checksums.json     SHA-256 of the files above and of the key
  DATASHEET.md       what is in the study, for its organisers
  formats/           the items for other tools, and form.html
  key.jsonl          SEALED: what every item is; read by the analysis only
  provenance.json    SEALED: where the items came from, seeds, the secret behind ids and orders
```
Ids and all orders come from a random secret, not from the seed: whoever has the run, the seed and
this code can still not tell items apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from legibility.errors import UserError
from legibility.files import sha256
from legibility.judging.protocol import Protocol, read_protocol

ITEMS, KEY, ASSIGNMENTS, PROTOCOL, CHECKSUMS, PROVENANCE = (
    "items.jsonl",
    "key.jsonl",
    "assignments.jsonl",
    "study.yaml",
    "checksums.json",
    "provenance.json",
)
SEALED = (KEY, PROVENANCE)
STUDY, ATTENTION = "study", "attention"


@dataclass(frozen=True)
class Item:
    """What a rater sees. Nothing here varies with the condition."""

    item_id: str
    problem: str
    solution: str


@dataclass(frozen=True)
class KeyEntry:
    """What an item is. `kind`: study or attention; `score`: raw score of the round's own verifier,
    `scores` of every verifier of the run and the held-out judge by name; `first_wrong_line`: 1-based line of
    the solution, where it is known; `content_sha256` ties the entry to the item's text."""

    item_id: str
    problem_id: str
    arm: str
    round: int
    role: str
    correct: bool
    score: float | None
    scores: dict[str, float]
    problem_chars: int
    solution_chars: int
    solution_tokens: int | None
    first_wrong_line: int | None
    kind: str
    run: str
    content_sha256: str


def content_hash(problem: str, solution: str) -> str:
    return hashlib.sha256(json.dumps([problem, solution]).encode()).hexdigest()


def json_lines(records: Iterable[Any]) -> str:
    return "".join(
        json.dumps(asdict(r) if not isinstance(r, dict) else r, ensure_ascii=False, allow_nan=False) + "\n"
        for r in records
    )


def write_checksums(folder: Path) -> None:
    """Record the hashes of the study's files, once, at export."""
    hashes = {name: sha256(folder / name) for name in (ITEMS, ASSIGNMENTS, PROTOCOL, KEY)}
    (folder / CHECKSUMS).write_text(json.dumps({"sha256": hashes}, indent=2) + "\n", encoding="utf-8")


class Study:
    """A study folder, checked against its checksums on opening. The key stays closed until `key()`."""

    def __init__(
        self, path: Path, protocol: Protocol, items: dict[str, Item], slots: list[list[str]], hashes: dict[str, str]
    ) -> None:
        self.path, self.protocol, self.items, self.slots, self._hashes = path, protocol, items, slots, hashes

    @classmethod
    def open(cls, path: Path | str) -> Study:
        """Raises UserError where the folder is no study or one of its blinded files changed since the export."""
        folder = Path(path)
        if not (folder / CHECKSUMS).is_file():
            raise UserError(
                f"{folder}: no study here (no {CHECKSUMS}); make one with legibility export RUN --out {folder}"
            )
        try:
            hashes = dict(json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{folder / CHECKSUMS}: cannot be read; restore the file the export wrote") from None
        for name in (ITEMS, ASSIGNMENTS, PROTOCOL):
            _check(folder / name, hashes.get(name))
        items = {r["item_id"]: Item(**r) for r in _read_lines(folder / ITEMS)}
        slots = [r["items"] for r in _read_lines(folder / ASSIGNMENTS)]
        return cls(folder, read_protocol(folder / PROTOCOL), items, slots, hashes)

    def key(self) -> pd.DataFrame:
        """The sealed key, one row per item, indexed by item_id. Raises UserError where it is not this study's."""
        path = self.path / KEY
        _check(path, self._hashes.get(KEY))
        key = pd.DataFrame(_read_lines(path)).set_index("item_id")
        for name in key.index.symmetric_difference(pd.Index(list(self.items))):
            raise UserError(
                f"{path}: does not match {ITEMS} (item {name} is in one of them only); restore both from the export"
            )
        for item in self.items.values():
            if key.content_sha256[item.item_id] != content_hash(item.problem, item.solution):
                raise UserError(
                    f"{path}: does not match {ITEMS}: the text of item {item.item_id} changed; restore both from the export"
                )
        return key

    def provenance(self) -> dict[str, Any]:
        try:
            return json.loads((self.path / PROVENANCE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{self.path / PROVENANCE}: missing or not readable; restore the file the export wrote"
            ) from None


def _check(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise UserError(f"{path}: missing; restore the file the export wrote")
    if sha256(path) != expected:
        raise UserError(
            f"{path}: changed since the export (checksum differs); restore the file, or export the study anew"
        )


def _read_lines(path: Path) -> Sequence[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
