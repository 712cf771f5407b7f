"""A function as a script's command line, whose errors are those of the commands: a line for people, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from legibility.errors import as_line


def run_script(main: Callable[..., object]) -> None:
    """Run a function with this process's arguments, as its signature declares them to typer."""
    try:
        typer.run(main)
    except Exception as error:
        end_with_line(error)


def end_with_line(error: Exception) -> NoReturn:
    """End this process with an error as one line, and its exit code. Raises the error where it is not the user's to mend."""
    line = as_line(error)
    if line is None:
        raise error
    print(f"error: {line}", file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 2))
