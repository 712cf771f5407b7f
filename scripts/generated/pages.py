"""Generated pages beside what is committed: compared and shown by default, written when asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

import typer

MOST_LINES = 200  # of differences that are shown


def settle(texts: Mapping[Path, str], *, write: bool, stale: Iterable[Path] = ()) -> None:
    """Write the pages, or show where the files differ from them; then exit with code 1 if any does.

    stale: files that no page is made for any more; writing removes them.
    """
    before = {path: path.read_text(encoding="utf-8") if path.is_file() else "" for path in (*texts, *stale)}
    differing = [path for path, old in before.items() if old != texts.get(path, "") or path not in texts]
    if not differing:
        typer.echo(f"up to date: {', '.join(path.name for path in texts)}")
    elif write:
        for path in differing:
            if path in texts:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(texts[path], encoding="utf-8")
            else:
                path.unlink()
            typer.echo(f"{'written' if path in texts else 'removed'}: {path}")
    else:
        lines = [line for path in differing for line in _difference(path, before[path], texts.get(path, ""))]
        typer.echo("\n".join(lines[:MOST_LINES]))
        if len(lines) > MOST_LINES:
            typer.echo(f"… {len(lines) - MOST_LINES} lines more")
        typer.echo(f"differs: {', '.join(path.name for path in differing)}; run again with --write", err=True)
        raise typer.Exit(1)


def _difference(path: Path, old: str, new: str) -> Iterable[str]:
    return difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), f"{path} (made now)", lineterm="")
