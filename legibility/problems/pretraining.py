"""What the built-in models read before any game, so that no question of a game stands in it.

The generator that makes a game's problems also made the built-in models' pre-training text, so some questions
would come twice. Every question of that text is kept as a 32-bit hash, and so is its wording (the question with
its numbers struck out), in `legibility/weights/pretraining_questions.npz`; `scripts/pretraining_questions.py`
replays the text and writes the file. A hash of 32 bits takes about one unread question in 13,000 for a read one,
which costs a drawn problem and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from legibility.problems.contamination import PartCounts, PretrainingChecks
from legibility.problems.splits import PARTS, ProblemSplits, normalise, wording

QUESTIONS_FILE = Path(__file__).resolve().parents[1] / "weights" / "pretraining_questions.npz"


@dataclass(frozen=True)
class PretrainingText:
    """The questions of a pre-training text, as sorted hashes (n,) of them and of their wordings (m,)."""

    questions: np.ndarray
    wordings: np.ndarray

    @classmethod
    def of(cls, questions: Iterable[str]) -> PretrainingText:
        """The record of these questions."""
        forms = {normalise(question) for question in questions}
        return cls(_sorted(forms), _sorted({wording(form) for form in forms}))

    def save(self, path: Path) -> None:
        """Write the differences of the sorted hashes byte by byte (4, n), compressed: half the size of the hashes."""
        planes: dict[str, np.ndarray] = {}
        for name, hashes in vars(self).items():
            steps = np.diff(hashes, prepend=np.uint32(0)).astype("<u4")
            planes[name] = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 4).T)
        with open(path, "wb") as handle:
            np.savez_compressed(handle, allow_pickle=False, **planes)

    @classmethod
    def load(cls, path: Path) -> PretrainingText:
        """What `save` wrote."""
        with np.load(path) as file:
            steps = (np.ascontiguousarray(file[name].T).view("<u4").ravel() for name in ("questions", "wordings"))
            return cls(*(np.cumsum(step, dtype=np.uint32) for step in steps))

    def holds(self, question: str) -> bool:
        """Whether the question stands in the text, case and spacing aside."""
        return _found(self.questions, normalise(question))

    def holds_wording(self, question: str) -> bool:
        """Whether a question that differs in its numbers at most stands in the text."""
        return _found(self.wordings, wording(question))

    def check(self, splits: ProblemSplits, left_out: int) -> PretrainingChecks:
        """What of each part stands in the text, and how many problems were left out for standing there."""
        parts = {name: splits.part(name) for name in PARTS if name in splits.counts.model_fields_set}
        return PretrainingChecks(
            questions=len(self.questions),
            left_out=left_out,
            same_question=PartCounts(**{n: sum(self.holds(p.question) for p in part) for n, part in parts.items()}),
            same_wording=PartCounts(
                **{n: sum(self.holds_wording(p.question) for p in part) for n, part in parts.items()}
            ),
        )


@cache
def built_in_text() -> PretrainingText:
    """What the built-in models read, all of them together."""
    return PretrainingText.load(QUESTIONS_FILE)


def _hash(form: str) -> int:
    return int.from_bytes(hashlib.blake2b(form.encode(), digest_size=4).digest(), "little")


def _sorted(forms: Iterable[str]) -> np.ndarray:
    return np.unique(np.fromiter(map(_hash, forms), np.uint32))


def _found(hashes: np.ndarray, form: str) -> bool:
    key = _hash(form)
    place = int(np.searchsorted(hashes, np.uint32(key)))
    return place < len(hashes) and int(hashes[place]) == key
