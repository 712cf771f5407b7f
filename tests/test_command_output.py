"""`--quiet` and `--log-file` of the long commands, in a whole tiny game, and where a command fails."""

from __future__ import annotations

import re

from tests.support import legibility


def test_a_quiet_game_shows_its_report_and_logs_all_of_it(tiny_config_file, tiny_overrides, tmp_path):
    log, run = tmp_path / "log", tmp_path / "run"
    command = ("train", tiny_config_file, *tiny_overrides, "game.rounds=1", "ppo.steps=1", "--out", run, "-q")
    result = legibility(*command, "--log-file", log)
    assert (result.code, result.out) == (0, f"report: {run}/report.html\n"), result
    lines = log.read_text().splitlines()
    assert all(re.match(r"# legibility log|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    for event in ("✓ base policy text  helpful", "✓ round 0 prover  1 steps", f"report: {run}/report.html"):
        assert any(event in line for line in lines), event

    again = legibility(*command, "--resume", "--log-file", log)
    assert (again.code, again.out) == (0, "") and log.read_text().splitlines()[: len(lines)] == lines
    refused = legibility(*command, "--log-file", log)
    assert refused.code == 2 and "exists already" in log.read_text().splitlines()[-1]
    assert "error: " in refused.err and legibility(*command, "--log-file", run / "config.yaml").code == 2


def test_a_quiet_game_still_warns(tiny_config_file, tiny_overrides, tmp_path):
    closed = [
        "gates={enabled: true, min_helpful_accuracy: 0.99}",
        "game={rounds: 1, correctness_arm: false}",
        "ppo.steps=1",
    ]
    command = (
        "train",
        tiny_config_file,
        *tiny_overrides,
        *closed,
        "game.collection_samples=4",
        "--out",
        tmp_path / "run",
    )
    result = legibility(*command, "--force", "--no-report", "--quiet")
    assert result.code == 0 and result.out == "" and "(forced open)" in result.err
