"""The study folder: blinded files for raters, a sealed key for the analysis, checksums that tie them.

```
study/
  items.jsonl        blinded: item_id, problem, solution, in random order
  doubts.jsonl       blinded, of an assisted study: what of each item is shown shaded
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

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from legibility.errors import UserError
from legibility.files import sha256
from legibility.judging.protocol import Protocol, stored_protocol
from legibility.judging.study_schema import (
    Checksums,
    DoubtMark,
    ItemDoubts,
    KeyEntry,
    Provenance,
    Slot,
    StudyItem,
    content_hash,
)
from legibility.pasted import own_command
from legibility.stored import Stored, StoredT, read_stored, write_stored

ITEMS, KEY, ASSIGNMENTS, PROTOCOL, CHECKSUMS, PROVENANCE = (
    "items.jsonl",
    "key.jsonl",
    "assignments.jsonl",
    "study.yaml",
    "checksums.json",
    "provenance.json",
)
DOUBTS = "doubts.jsonl"
SEALED = (KEY, PROVENANCE)
SIMULATION_FOLDER = "simulation"
"""Where the judgments of made-up raters are kept, apart from people's."""
RESTORE = "restore the file the export wrote"


def json_lines(records: Iterable[Stored]) -> str:
    """Records as JSONL. Raises ValueError for a number that is not finite."""
    return "".join(json.dumps(r.model_dump(mode="json"), ensure_ascii=False, allow_nan=False) + "\n" for r in records)


def write_checksums(folder: Path) -> None:
    """Record the hashes of the study's files, once, at export."""
    names = [ITEMS, *([DOUBTS] if (folder / DOUBTS).is_file() else []), ASSIGNMENTS, PROTOCOL, KEY]
    hashes = {name: sha256(folder / name) for name in names}
    write_stored(folder / CHECKSUMS, Checksums(sha256=hashes))


class StudyFolder:
    """A study folder, checked against its checksums on opening. The key stays closed until `key()`.

    items: item id -> item, in the order of the file; slots: item ids of every rater, in the order shown; doubts:
    item id -> what is shaded (empty: no assisted study); assisted: item ids that each rater is shown so.
    """

    def __init__(
        self,
        path: Path,
        protocol: Protocol,
        items: dict[str, StudyItem],
        slots: list[list[str]],
        hashes: dict[str, str],
        doubts: dict[str, list[DoubtMark]],
        assisted: list[frozenset[str]],
    ) -> None:
        self.path, self.protocol, self.items, self.slots, self._hashes = path, protocol, items, slots, hashes
        self.doubts, self.assisted = doubts, assisted

    @classmethod
    def open(cls, path: Path | str) -> StudyFolder:
        """Raises UserError where the folder is no study or one of its blinded files changed since the export."""
        folder = Path(path)
        if not (folder / CHECKSUMS).is_file():
            raise UserError(
                f"{folder}: no study here (no {CHECKSUMS}); make one with {own_command('export', 'RUN', '--out', folder)}"
            )
        hashes = read_stored(folder / CHECKSUMS, Checksums, fix=RESTORE).sha256
        has_doubts = DOUBTS in hashes
        for name in (ITEMS, *([DOUBTS] if has_doubts else []), ASSIGNMENTS, PROTOCOL):
            _check(folder / name, hashes.get(name))
        items = {item.item_id: item for item in read_lines(folder / ITEMS, StudyItem)}
        slots = read_lines(folder / ASSIGNMENTS, Slot)
        doubts = {d.item_id: d.marks for d in read_lines(folder / DOUBTS, ItemDoubts)} if has_doubts else {}
        return cls(
            folder,
            stored_protocol(folder / PROTOCOL),
            items,
            [slot.items for slot in slots],
            hashes,
            doubts,
            [frozenset(slot.assisted or ()) for slot in slots],
        )

    def key_entries(self) -> list[KeyEntry]:
        """The sealed key, an entry per item. Raises UserError where it is not this study's."""
        path = self.path / KEY
        _check(path, self._hashes.get(KEY))
        entries = read_lines(path, KeyEntry)
        for name in sorted({entry.item_id for entry in entries} ^ set(self.items)):
            raise UserError(
                f"{path}: does not match {ITEMS} (item {name} is in one of them only); restore both from the export"
            )
        for entry in entries:
            item = self.items[entry.item_id]
            if entry.content_sha256 != content_hash(item.problem, item.solution):
                raise UserError(
                    f"{path}: does not match {ITEMS}: the text of item {item.item_id} changed; restore both from the export"
                )
        return entries

    def key(self) -> pd.DataFrame:
        """The sealed key as a table: the fields of `KeyEntry` and `condition`, indexed by item_id.

        Raises UserError as `key_entries` does.
        """
        rows = [{**dict(entry), "condition": entry.condition} for entry in self.key_entries()]
        return pd.DataFrame(rows).set_index("item_id")

    def provenance(self) -> Provenance:
        """Where the items came from (sealed). Raises UserError where the file is missing or damaged."""
        return read_stored(self.path / PROVENANCE, Provenance, fix=RESTORE)


def _check(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise UserError(f"{path}: missing; {RESTORE}")
    try:
        found = sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give yourself the right to read it") from None
    if found != expected:
        raise UserError(
            f"{path}: changed since the export (checksum differs); restore the file, or export the study anew"
        )


def read_lines(path: Path, model: type[StoredT], *, fix: str = RESTORE) -> list[StoredT]:
    """Records of a JSONL file. Raises UserError naming a line that is none, or the file where it cannot be read."""
    found = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {fix}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            try:
                found.append(model.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
                raise UserError(f"{path} line {number}: {what}; {fix}") from None
    return found
