"""The report of a run: figures and one self-contained HTML page, made from the run folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from legibility.evaluation.groups import GroupComparison
    from legibility.evaluation.merged_seeds import Comparison
    from legibility.game.run_folder import RunFolder

__all__ = ["report", "write_comparison", "write_report"]


def report(path: Path | str) -> Path:
    """Write the report of the run folder at `path`; returns the page's path.

    Raises UserError where there is no run, no finished round yet, or a file was changed.
    """
    from legibility.game.run_folder import RunFolder  # which imports torch

    return write_report(RunFolder.existing(path))


def write_report(run: RunFolder) -> Path:
    """Write `<run>/report.html` and `<run>/figures/*.png`; returns the page's path.

    Raises UserError where no round is finished yet or the run's files were changed.
    """
    from legibility.reporting.page import write_report as write  # matplotlib only where a report is written

    return write(run)


def write_comparison(comparison: Comparison | GroupComparison, folder: Path) -> Path:
    """Write `<folder>/compare.html` and `<folder>/figures/*.png` of a comparison of runs; returns the page's path."""
    from legibility.reporting.comparison import write_comparison as write

    return write(comparison, folder)
