"""`--log-file`: what a command shows, kept in a file of lines with their times. It is only ever added to."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from legibility.errors import UserError
from legibility.pasted import pasted
from legibility.printable import printable

HEAD = "# legibility log"


class LogFile:
    """A log, open to be added to: a head for every session, then a line an event, each written at once."""

    def __init__(self, path: Path, command: Sequence[str]) -> None:
        """Raises UserError for a file that is no log of ours (it stays as it is), OSError for what cannot be written."""
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: no file; choose another --log-file")
        if path.is_file() and path.stat().st_size and not _is_log(path):
            raise UserError(f"{path}: holds something else than a log; choose another --log-file")
        self._file: TextIO = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        self._write(f"{HEAD}: {pasted(*command)}, process {os.getpid()}")

    def add(self, line: str) -> None:
        """Add an event; what would break or restyle the line is written out."""
        self._write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {printable(line)}")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            print(f"{self._file.name}: {error.strerror}; the log ends here", file=sys.stderr)
            self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # a full disk of logs ends no run


def _is_log(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(HEAD)) == HEAD.encode()
