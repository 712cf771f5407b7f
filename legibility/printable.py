"""Text of unknown origin on a terminal: names, paths and cells that a stranger wrote.

A terminal obeys escape codes: printed as they are, they move the cursor, rename the window or write over lines.
Direction marks let a text read as another. Here both are shown, not obeyed.
"""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # of scripts and emoji: they change shapes, not order
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object) -> str:
    """`str(text)` on one line, in which control, direction and other invisible characters are written as escapes.

    ESC becomes `\\x1b`, a line end `\\n`, U+202E `\\u202e`, half of a surrogate pair (a byte of a file name that is
    no UTF-8, say) `\\udc80`. Everything that can be seen stays as it is, backslashes included.
    """
    return "".join(_shown(c) for c in str(text))


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    code = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
