"""Commands that are shown: what a shell makes of them is what was meant."""

from __future__ import annotations

import subprocess
import sys

import pytest

from legibility.pasted import own_command, pasted, typed_command
from legibility.printable import printable

WORDS = [
    "plain",
    "with space",
    "it's",
    'say "hi"',
    "$HOME `id` !!",
    "new\nline",
    "tab\t\x1b[31m",
    "é ‮ \u200b",
    "-",
    "",
    "a\\b'\n",
]


@pytest.mark.parametrize("shell", ["bash"])
def test_a_shell_reads_the_words_back(shell):
    line = pasted("printf", "%s\\0", *WORDS)
    assert printable(line) == line, "it can be shown as it is"
    read = subprocess.run([shell, "-c", line], capture_output=True, check=True).stdout.decode()
    assert read.split("\0")[:-1] == WORDS


def test_a_command_begins_as_the_one_that_shows_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/legibility", "report", "my run"])
    assert (
        own_command("view", "my run") == "legibility view 'my run'" and typed_command() == "legibility report 'my run'"
    )
    monkeypatch.setattr(sys, "argv", ["/somewhere/legibility/__main__.py", "report", "r"])
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-m", "legibility", "report", "r"])
    assert own_command("view", "r") == "python3 -m legibility view r"
    assert typed_command() == "python3 -m legibility report r"
    monkeypatch.setattr(sys, "argv", ["/somewhere/notebook.py"])
    assert own_command("view", "r") == "legibility view r" and typed_command() is None
