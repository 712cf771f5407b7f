"""docs/results.md, written from runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.summaries import runs_by_seed
from tests.support import ROOT, script


@pytest.fixture
def seeds(tiny_run, tmp_path) -> list[Path]:
    return runs_by_seed(tiny_run, tmp_path)


def test_the_page_is_written_from_the_runs_alone(seeds, tmp_path):
    module = script("results")
    out = tmp_path / "results.md"
    rows = tmp_path / "ablation.md"
    rows.write_text("| settings | seeds |\n|---|---|\n| token | 3 |\n")
    module.main(seeds, config=ROOT / "configs" / "nano.yaml", sweep=None, ablation=rows, out=out)
    page = out.read_text()
    assert " seed-2 --ablation ablation.md` from stored runs" in page
    assert "## What the verifier reads and learns from\n\n| settings | seeds |" in page
    assert "## Claims" in page and "legibility tax" in page and "seed=2" in page
    assert (
        tmp_path / "figures" / "rounds_over_seeds.png"
    ).stat().st_size > 5000 and "(figures/rounds_over_seeds.png)" in page
    assert all(
        line.count("|") == page.split("\n")[i + 1].count("|")
        for i, line in enumerate(page.split("\n")[:-1])
        if line.startswith("|") and page.split("\n")[i + 1].startswith("|")
    )
