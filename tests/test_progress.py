"""What a run shows where there is no terminal, and what its trackers get."""

from __future__ import annotations

import io
import math

from rich.console import Console

from legibility.progress import Progress, format_numbers
from legibility.trackers import Trackers


class Tracker:
    """Stands in for accelerate's trackers."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))


def shown_of(**options) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    return Progress(Console(file=out, width=200), **options), out


def test_a_phase_ends_in_a_line_with_its_name_and_detail():
    progress, out = shown_of()
    progress.phase("round 0 verifier", 4, "240 texts")
    progress.step(1, {"loss": 0.5})  # too soon for a line
    progress.done("pair accuracy 0.7")
    assert out.getvalue().startswith("✓ round 0 verifier (240 texts)  pair accuracy 0.7  0 s")
    assert "1/4" not in out.getvalue()


def test_plain_lines_come_now_and_then():
    progress, out = shown_of(plain_every=-1.0)
    progress.phase("base policy text", 4)
    progress.step(2, {"accuracy": 0.25, "tokens": 1200.0})
    assert "base policy text 2/4  accuracy 0.25  tokens 1200, 0 s left" in out.getvalue()


def test_trackers_get_finite_numbers_under_the_phases_bare_name():
    progress, _ = shown_of()
    tracker = Tracker()
    progress.trackers = Trackers(tracker)
    progress.phase("round 0 verifier", 2, "240 texts")
    progress.step(1, {"loss": 0.5}, {"loss": 0.5, "gap": math.nan})
    progress.phase("round 0 prover", 2)
    progress.step(1, {"KL": 0.1})
    assert tracker.logged == [(1, {"round 0 verifier/loss": 0.5}), (2, {"round 0 prover/KL": 0.1})]


def test_numbers_have_two_decimals_and_large_whole_ones_none():
    assert format_numbers({"a": 0.126, "b": 99.0, "c": 100.0, "d": 100.5}) == "a 0.13  b 99.00  c 100  d 100.50"


def test_where_there_is_no_terminal_an_event_is_a_line_however_long():
    out = io.StringIO()
    progress = Progress(Console(file=out, width=30))
    progress.note("word " * 40)
    progress.phase("round 0 verifier", 4)
    progress.done("pair accuracy 0.7  " * 5)
    assert out.getvalue().count("\n") == 2


def test_what_looks_like_markup_or_an_escape_code_is_text():
    progress, out = shown_of()
    progress.note("runs/[/red] [bold]x: done")
    progress.warn("a\x1b[31mred")
    progress.phase("phase [/dim]", 1)
    progress.done("[/nothing]")
    assert out.getvalue().split("  0 s")[0] == (
        "runs/[/red] [bold]x: done\n! a\\x1b[31mred\n✓ phase [/dim]  [/nothing]"
    )


def test_a_stream_that_lacks_a_character_gets_another():
    raw = io.BytesIO()
    progress = Progress(Console(file=io.TextIOWrapper(raw, encoding="ascii"), width=80))
    progress.made("base policy text", 3.2)
    progress.console.file.flush()
    assert raw.getvalue() == b"\\u2713 base policy text  3 s\n"
