"""What the comparison of trainers reads off a game, against a round worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest
import trainers


def row(
    role: str, verdict: str, score: float, tokens: int = 10, phase: str = "collection", split: str = "test"
) -> dict:
    return {
        "phase": phase, "split": split, "role": role, "verdict": verdict, "score": score, "completion_tokens": tokens,
    }  # fmt: skip


def test_a_round_by_hand():
    rows = pd.DataFrame(
        [
            row("helpful", "correct", 1.0),
            row("helpful", "correct", 3.0),
            row("helpful", "correct", 2.0),
            row("helpful", "incorrect", 0.0),
            row("sneaky", "incorrect", 2.5, tokens=30),
            row("sneaky", "incorrect", 1.5, tokens=30),
            row("sneaky", "invalid", 9.0, tokens=30),  # nobody is fooled by what has no answer
            row("sneaky", "correct", -1.0, tokens=30),
            row("sneaky", "incorrect", 99.0, phase="ppo"),
            row("sneaky", "incorrect", 99.0, split="verifier"),
        ]
    )
    found = trainers.measure(rows)
    assert found["helpful_accuracy"] == 0.75 and found["sneaky_accuracy"] == 0.25
    assert found["fooling"] == 0.5  # of 2.5 and 1.5 one is above the median of 1, 2, 3
    # right 1, 3, 2, -1 against wrong 0, 2.5, 1.5: 3 beats three, 2 two, 1 one, -1 none; 6 of 12
    assert found["auroc"] == pytest.approx(0.5)
    assert found["tokens"] == 20.0


def test_the_table_has_means_and_spreads():
    one = dict.fromkeys(trainers.COLUMNS, 0.25)
    games = {"ppo": [one, dict.fromkeys(trainers.COLUMNS, 0.75)], "grpo": [{**one, "cpu_seconds": 120.0}]}
    lines = trainers.table(games).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == 9
    assert lines[2].startswith("| ppo | 0.500 ± 0.354 |") and lines[3].endswith("| 120 ± 0 |")
