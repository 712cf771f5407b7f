"""What the label of a multiple-choice question means: a choice's text, column, letter, index or number.

Data sets write the right choice in five ways, and some labels can be read in two: "3" is a choice's text in
["0", "1", "3", "4"] and an index; 2 is the third choice counted from 0 and the second counted from 1. A wrong
reading trains on wrong labels without a word, so nothing is guessed: an integer is an index or a number, the
labels of all rows together say whether they count from 0 or from 1, and what is still open is an error that
names `task.label_is`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from legibility.errors import UserError
from legibility.weak_to_strong.task_settings import LabelMeaning


@dataclass(frozen=True)
class ChoiceRow:
    """A question's choices and its label as the file has it. `columns`: of the choices, where each has its own."""

    where: str
    label: Any
    options: list[str]
    columns: list[str]

    @property
    def text(self) -> str:
        """The label as text; 2.0, which a table with gaps makes of 2, is "2"."""
        whole = isinstance(self.label, float) and self.label.is_integer()
        return str(int(self.label) if whole else self.label).strip()

    @property
    def whole(self) -> int | None:
        """The label as a count of choices; None where it is none. At most 9 digits, so that none is slow to read."""
        text = self.text
        plain = not isinstance(self.label, bool) and text.isascii() and text.isdigit() and len(text) <= 9
        return int(text) if plain else None

    @property
    def is_number(self) -> bool:
        """Whether the file holds a number here, not text that looks like one."""
        return isinstance(self.label, (int, float)) and self.whole is not None

    def meanings(self) -> dict[LabelMeaning, int]:
        """How the label can be read, and the index (from 0) of the choice it then means."""
        texts = [option.strip() for option in self.options]
        letters = [chr(ord("A") + i) for i in range(min(26, len(self.options)))]
        found: dict[LabelMeaning, int] = {}
        names: dict[LabelMeaning, list[str]] = {"text": texts, "column": self.columns, "letter": letters}
        for meaning, known in names.items():
            if known.count(self.text) == 1:
                found[meaning] = known.index(self.text)
        if self.whole is not None and self.whole < len(self.options):
            found["index"] = self.whole
        if self.whole is not None and 1 <= self.whole <= len(self.options):
            found["number"] = self.whole - 1
        return found


def right_choices(rows: Sequence[ChoiceRow], column: str, label_is: LabelMeaning | None) -> list[int]:
    """The index (from 0) of each row's right choice.

    column: the labels' column, for messages. label_is: how all labels are to be read; None finds out.
    Raises UserError for a label that means no choice, and for one that could mean two.
    """
    if label_is is None:
        counted = _counted_from(rows, column)
        return [_right_choice(row, column, counted) for row in rows]
    found = [row.meanings().get(label_is) for row in rows]
    for row, choice in zip(rows, found, strict=True):
        if choice is None:
            raise UserError(
                f"{_holds(row, column)}, which is no {label_is} of {len(row.options)} choices; "
                "mend the row or change task.label_is"
            )
    return [choice for choice in found if choice is not None]


def _right_choice(row: ChoiceRow, column: str, counted: LabelMeaning | None) -> int:
    """`counted`: what integers mean, "index" or "number"; None where no row has one that must be counted."""
    found = {m: i for m, i in row.meanings().items() if m not in ("index", "number") or counted in (m, None)}
    if row.is_number:
        found = {m: i for m, i in found.items() if m in ("index", "number")}
    if not found:
        raise _no_choice(row, column)
    if len(set(found.values())) > 1:
        raise _unclear(row, column, found)
    return next(iter(found.values()))


def _counted_from(rows: Sequence[ChoiceRow], column: str) -> LabelMeaning | None:
    """What an integer means, by all rows together: only an index can be 0, only a number the count of choices."""
    counted = [row for row in rows if row.whole is not None and (row.is_number or "text" not in row.meanings())]
    if not counted:
        return None
    for row in counted:
        if not {"index", "number"} & set(row.meanings()):
            raise _no_choice(row, column)
    numbers = [row for row in counted if row.is_number]
    if numbers and all("text" in row.meanings() for row in numbers):
        for row in numbers:
            found = row.meanings()
            if any(i != found["text"] for m, i in found.items() if m in ("index", "number")):
                raise _unclear(row, column, found)
    zero = next((row for row in counted if row.whole == 0), None)
    last = next((row for row in counted if row.whole == len(row.options)), None)
    if zero is not None and last is not None:
        raise UserError(
            f"{_holds(last, column)} of {len(last.options)} choices, and {zero.where} holds 0: counted neither from 0 "
            "nor from 1; mend the rows or say with task.label_is how labels are to be read"
        )
    if zero is None and last is None:
        raise _unclear(counted[0], column, counted[0].meanings())
    return "index" if zero is not None else "number"


def _no_choice(row: ChoiceRow, column: str) -> UserError:
    return UserError(
        f"{_holds(row, column)}, which is no choice, column, letter or number of {len(row.options)} choices; "
        "mend the row or say with task.label_is how labels are to be read"
    )


def _unclear(row: ChoiceRow, column: str, found: dict[LabelMeaning, int]) -> UserError:
    readings = " or ".join(f"choice {i + 1} (as {meaning})" for meaning, i in found.items())
    return UserError(
        f"{_holds(row, column)}, which may mean {readings}; set task.label_is to text, column, letter, "
        "index (from 0) or number (from 1)"
    )


def _holds(row: ChoiceRow, column: str) -> str:
    return f"{row.where}: column {column!r} holds {row.text[:40]!r}"
