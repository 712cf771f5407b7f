"""CSV for spreadsheets, which run a cell that begins like a formula: such text gets an apostrophe in front."""

from __future__ import annotations

import unicodedata

import pandas as pd

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # some spreadsheets read the wide forms too


def inert(text: str) -> str:
    """The text of a cell as a spreadsheet shows it and does not run it. Text that is inert stays as it is."""
    shown = next((text[k:] for k, c in enumerate(text) if not _unseen(c)), "")
    return f"'{text}" if shown.startswith(_FORMULA) or text[:1] in ("\t", "\r", "\n") else text


def _unseen(character: str) -> bool:
    """White space, and what programs drop when they read a cell: control characters, marks of no width."""
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cf")


def inert_csv(frame: pd.DataFrame) -> str:
    """A table as CSV without its index; text in it is inert, numbers stay numbers."""
    safe = frame.apply(lambda column: column.map(lambda cell: inert(cell) if isinstance(cell, str) else cell))
    return str(safe.astype(frame.dtypes).to_csv(index=False, lineterminator="\n"))
