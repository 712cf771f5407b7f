"""Commands that are shown to people: pasted into a shell they run, whatever is in their paths.

They begin as the command that shows them was begun, with `legibility` or with `python -m legibility`, since the other
may not be there.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from legibility.launch import launch
from legibility.printable import printable


def pasted(*words: object) -> str:
    """Words as one line of a shell. What would move a terminal's cursor is written as the escapes of `$'…'`."""
    return " ".join(map(_word, words))


def own_command(*words: object) -> str:
    """A command of this package, such as `own_command("report", run)`."""
    return pasted(*_start(), *words)


def typed_command() -> str | None:
    """The command of this package that was typed to start this process; None where Python code uses it.

    An interpreter goes by its name alone: where it stands is the machine's affair.
    """
    return own_command(*sys.argv[1:]) if _is_own() else None


def _start() -> list[str]:
    if not _is_own() or Path(sys.argv[0]).stem == "legibility":
        return ["legibility"]
    place = launch()
    if place is not None and place.size == place.local_size:  # of several machines each has a command of its own
        return ["torchrun", "--nproc-per-node", str(place.size), "-m", "legibility"]
    return [Path(sys.orig_argv[0]).name or "python", "-m", "legibility"]


def _is_own() -> bool:
    script = Path(sys.argv[0])
    return script.stem == "legibility" or (script.name == "__main__.py" and script.parent.name == "legibility")


def _word(word: object) -> str:
    text = str(word)
    if printable(text) == text and not re.search(r"\s\s|[^\S ]", text):  # an error's white space becomes one space
        return shlex.quote(text)
    kept = re.sub(r"['\\]", lambda found: f"\\{found[0]}", text)
    return "$'" + "".join(c if printable(c) == c and not c.isspace() else _escaped(c) for c in kept) + "'"


def _escaped(character: str) -> str:
    """A character as bash, zsh and ksh read it back: byte by byte, so that the shell's locale does not matter."""
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
