"""The tables of the comparison."""

from __future__ import annotations

from harness import tables

from tests.benchmarks.measured import record, result_file, step


def test_tables_show_every_trainer_and_what_was_skipped():
    text = tables.versus(result_file(learning={"trl-ppo": [record("trl-ppo", *[step(2, 1, 0.5)] * 12)]}))
    assert "| legibility, value head (default) | 1.50 [1.00–2.00] | 0.30 | 0.30 | 0.90 |" in text
    assert "5.0× [4.0–6.0]" in text
    assert "| TRL 1.12 PPO (separate critic) | 0.500 | 0.500 | +0.000 [+0.000, +0.000] | 0 of 1 | 12 | 24 |" in text
    assert "Skipped: x (why)." in text
