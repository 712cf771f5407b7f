"""Errors meant for people. The command line prints them as one line and exits with their code.

`UserError` says what was wrong, where, and what to do (exit 2). `GateClosed` says that a check
made before spending compute failed (exit 3).
"""

from __future__ import annotations


class UserError(Exception):
    """Bad input: a file, a setting or a model that cannot be used. One line, exit code 2."""

    exit_code = 2


class GateClosed(Exception):
    """A gate (see `legibility.game.gates`) refused to go on. One line, exit code 3."""

    exit_code = 3
