"""What a long command shows, and where: the terminal, less of it with --quiet, and a file with --log-file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from legibility.errors import as_line
from legibility.log_file import LogFile as Log
from legibility.progress import Progress

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings, errors and the result alone.")]
LogFile = Annotated[
    Path | None,
    typer.Option(help="Add what is shown to this file too, a line an event with its time (never overwritten)."),
]


@contextmanager
def command_output(quiet: bool, log_file: Path | None) -> Iterator[Progress]:
    """The progress of a command. Its log ends with the error that ended the command, where one did.

    Raises UserError for a file that is no log, before anything is done.
    """
    log = None if log_file is None else Log(log_file, ["legibility", *sys.argv[1:]])
    progress = Progress(only_warnings=quiet, log=log)
    try:
        yield progress
    except BaseException as error:
        if log is not None:
            log.add(f"error: {as_line(error) or f'{type(error).__name__}: {error}'}")
        raise
    finally:
        progress.close()
        if log is not None:
            log.close()
