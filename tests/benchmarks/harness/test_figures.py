"""Figures are drawn, and the scaling table beside them."""

from __future__ import annotations

from harness import figures, laws, results, tables

from tests.benchmarks.measured import points, record, result_file, step


def test_figures_and_scaling_table(tmp_path):
    law = {phase: laws.fit(points(), phase) for phase in ("seconds", *results.PHASES)}
    result = {"points": points(), "laws": law}
    figures.scaling(result, tmp_path / "scaling.png")
    assert "| 0.50 | 256 | 4 | 20.0 | 5,000 |" in tables.scaling(result)
    figures.learning(
        result_file(learning={"trl-ppo": [record("trl-ppo", *[step(2, 1, 0.5)] * 12)]}), tmp_path / "learning.png"
    )
    assert (tmp_path / "scaling.png").stat().st_size > 1000 and (tmp_path / "learning.png").stat().st_size > 1000
