"""Text of users, data sets and models stays text: what spells a control token in it is not read as one.

A tokenizer turns "<|sneaky|>" or "</s>" into one token wherever it stands. In a prompt's or a verifier's template that
is meant; in a problem or a solution it would be a way to change role, to end a text or to hide one. There the first
character gives way to one that no control token has. Everything keeps its length, so places in the text stay true.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STAND_INS = "(^~‹"  # none has a compatibility form, so that no normaliser turns it back into "<"
BRACKETED = re.compile(r"[<\[｜].*[>\]｜]", re.DOTALL)
SHORTEST = 3  # some tokenizers end a text with a line break or "!", which text is full of


@dataclass(frozen=True)
class ControlTokens:
    """A tokenizer's control tokens: special ones, and added ones in brackets (`<think>`), as a pattern."""

    spelled: re.Pattern[str] | None
    stand_in: str = STAND_INS[0]

    @classmethod
    def of(cls, tokenizer: Any) -> ControlTokens:
        """The control tokens of a tokenizer; those that are ordinary text (a line break, a run of spaces) are none."""
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        names = {t.content for t in added if t.special or BRACKETED.fullmatch(t.content)}
        names |= set(getattr(tokenizer, "all_special_tokens", ()))
        names = {n for n in names if len(n.strip()) >= SHORTEST and not n.strip().isalnum()}
        longest_first = sorted(names, key=lambda n: (-len(n), n))
        if not names:
            return cls(None)
        return cls(re.compile("|".join(map(re.escape, longest_first))), _absent(names))

    def plain(self, text: str) -> str:
        """The text, of the same length, with no control token in it."""
        if self.spelled is None:
            return text
        while self.spelled.search(text) is not None:  # what stood across one may be spelled now
            text = self.spelled.sub(lambda found: self.stand_in + found[0][1:], text)
        return text

    def plain_in(self, pieces: Sequence[str], foreign: Sequence[bool]) -> str:
        """The pieces as one text of the same length, with no control token that a foreign piece has a part in.

        What is not foreign (a template) keeps its own; one that is spelled across a seam is none.
        """
        text = "".join(self.plain(piece) if outside else piece for piece, outside in zip(pieces, foreign, strict=True))
        found = None if self.spelled is None else self.spelled.search(text)
        if self.spelled is None or found is None:
            return text
        owners = [outside for piece, outside in zip(pieces, foreign, strict=True) for _ in piece]
        while found is not None:
            place, start = next((k for k in range(*found.span()) if owners[k]), None), found.end()
            if place is not None:
                text, start = f"{text[:place]}{self.stand_in}{text[place + 1 :]}", 0
            found = self.spelled.search(text, start)
        return text


def _absent(names: set[str]) -> str:
    """A character that no name has, so that putting it in makes no new one."""
    return next(c for c in (*STAND_INS, *map(chr, range(0x2190, 0x3000))) if not any(c in name for name in names))
