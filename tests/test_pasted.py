"""Commands that are shown: what a shell makes of them is what was meant."""

from __future__ import annotations

import ast
import html
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from legibility.errors import UserError, as_line
from legibility.pasted import own_command, pasted, typed_command
from legibility.printable import printable
from tests.support import ROOT, legibility

COMMAND = re.compile(
    r"\blegibility (train|report|view|ask|evaluate|attack|compare|weak-to-strong|export|judge|import|analyze|simulate-raters) "
)

WORDS = [
    "two  spaces",
    "no\u00a0break",
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


def test_in_an_error_a_command_is_as_it_was():
    """An error is one line: its white space is made single."""
    line = as_line(UserError(f"not there; run: {pasted('legibility', 'report', 'two  spaces')}"))
    assert line is not None and shlex.split(line.replace("$'", "'"))[-1] == "two\\x20\\x20spaces"


def test_no_message_puts_a_value_behind_a_command_unquoted():
    """`own_command` and `pasted` quote; an f-string does not. And no message leaves words of a command out."""
    for module in (ROOT / "legibility").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                found = COMMAND.search(said)
                assert not (found and "{}" in said[found.end() :].split(";")[0]), said
                assert not (found and "…" in said), said


def test_no_page_puts_a_value_into_a_command_unquoted():
    for template in (ROOT / "legibility").rglob("*.j2"):
        for code in re.findall(r"<code>(.*?)</code>", template.read_text(encoding="utf-8")):
            assert not (COMMAND.search(code) and "{{" in code), f"{template.name}: {code}"


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / "configs").glob("*.yaml"),
]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ("log.md", "cli.md")], ids=lambda p: p.name)
def test_a_shell_takes_the_commands_of_a_page_as_they_are(page):
    """Brackets and braces are a shell's own: `tracking.trackers=[wandb]` has to be quoted, and dots stand for nothing."""
    text = page.read_text(encoding="utf-8")
    blocks = (
        "\n".join(re.findall(r"```(?:bash|sh|console)?\n(.*?)```", text, flags=re.S)) if page.suffix == ".md" else text
    )
    for line in blocks.replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("# ").removeprefix("$ ") if page.suffix == ".yaml" else line.strip()
        if not re.match(r"(legibility|python -m legibility|python scripts/\S+) [a-z]", line):
            continue
        lexer = shlex.shlex(line, posix=False, punctuation_chars=True)
        lexer.commenters, lexer.whitespace_split = "#", True
        words = list(lexer)
        bare = [w for w in words if not re.match(r"""(\S*=)?["'].*["']$""", w)]
        assert not [w for w in bare if re.search(r"[\[\]{}*?()<>…]|\.\.\.", w)], line


@pytest.fixture(scope="module")
def nasty(tiny_run, tmp_path_factory) -> Path:
    """A finished run whose name needs quoting."""
    return Path(shutil.copytree(tiny_run.path, tmp_path_factory.mktemp("a place") / "it's $my run"))


def told(text: str, start: str) -> list[str]:
    """The words of the command that follows `start`, as a shell reads them."""
    line = next(line for line in text.splitlines() if start in line).split(start, 1)[1]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line.split(' writes it')[0]}"], capture_output=True, check=True
    )
    return words.stdout.decode().split("\0")[:-1]


def test_what_commands_tell_to_do_next_works(nasty):
    study = nasty.parent / "my study's"
    few = "init:-1:base,game:1:sneaky,correctness:0:helpful"
    done = legibility("export", nasty, "--out", study, "--per-condition", 2, "--raters", 3, "--conditions", few)
    assert told(done.out, "next: ") == ["legibility", "judge", str(study)]
    done = legibility("simulate-raters", study)
    again = told(done.out, "next: ")
    assert again[1] == "analyze" and legibility(*again[1:]).code == 0


def test_what_errors_tell_to_do_works(nasty, tmp_path):
    run = Path(shutil.copytree(nasty, tmp_path / "the  run"))
    (run / "summary.json").unlink()
    refused = legibility("compare", run, nasty, "--out", tmp_path / "out")
    again = told(refused.err, "go on with: ")
    assert again[1:] == ["train", str(run / "config.yaml"), "--out", str(run), "--resume"]
    done = legibility(*again[1:])
    assert done.code == 0 and (run / "summary.json").is_file(), done
    (run / "summary.json").write_text("{}")
    refused = legibility("compare", run, nasty, "--out", tmp_path / "out")
    assert told(refused.err, "; ")[1:] == ["evaluate", str(run), "--quick"]


def test_the_report_shows_commands_that_can_be_pasted(nasty):
    page = html.unescape(Path(legibility("report", nasty).out.strip()).read_text(encoding="utf-8"))
    shown = [shlex.split(code) for code in re.findall(r"<code>(legibility .*?)</code>", page) if "run" in code]
    assert ["legibility", "report", nasty.name] in shown
    assert ["legibility", "train", f"{nasty.name}/config.yaml", "--out", f"{nasty.name}-again"] in shown
