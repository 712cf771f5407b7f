"""The Markdown tables of a finished experiment, as the grid script joins them."""

from __future__ import annotations

import runpy

from tests.support import ROOT


def test_grid_script_joins_experiments_and_rewrites_its_section_only(finished, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n## Other\n\nkept\n", encoding="utf-8")
    grid = runpy.run_path(str(ROOT / "scripts/weak_to_strong_grid.py"))["main"]
    for _ in range(2):
        grid(experiments=[finished], out=tmp_path / "grid", results=page)
    text = page.read_text()
    assert text.count("## Weak-to-strong") == 1 and "kept" in text and "| bytes → big |" in text
    assert "figures/weak_to_strong.png" in text and (tmp_path / "figures/weak_to_strong.png").stat().st_size > 1000
    assert (tmp_path / "grid/pgr.png").stat().st_size > 1000
