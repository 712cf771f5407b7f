"""Which stored completions a figure is computed from, by name."""

from __future__ import annotations

import pandas as pd

from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, round_solutions

BASE, COLLECTION, CORRECTNESS_PROVER = "base", "arms/correctness/collection", "arms/correctness/prover"
SHORT = "evaluation/arms/correctness_short"
"""The length-penalised correctness arm; only an evaluation trains it."""


def test_texts(run: RunFolder) -> dict[str, pd.DataFrame]:
    """Test completions by name: "init", "init sneaky", "game R" (helpful), "sneaky R", "correctness",
    "correctness halfway", "correctness short"; only what is finished.

    Raises UserError for files that were changed.
    """
    base = _test(read_solutions(run.verified(BASE) / "solutions.parquet"))
    texts = {"init": base[base.role == "base"], "init sneaky": base[base.role == "sneaky"]}
    for index in run.rounds():
        frame = _test(round_solutions(run, index))
        frame = frame[frame.phase == "collection"]
        texts[f"game {index}"] = frame[frame.role == "helpful"]
        texts[f"sneaky {index}"] = frame[frame.role == "sneaky"]
    if run.is_done(COLLECTION):
        texts["correctness"] = _test(read_solutions(run.verified(COLLECTION) / "solutions.parquet"))
        frame = read_solutions(run.verified(CORRECTNESS_PROVER) / "solutions.parquet")
        texts["correctness halfway"] = frame[frame.phase == "halfway"]
    if run.is_done(SHORT):
        texts["correctness short"] = _test(read_solutions(run.verified(SHORT) / "solutions.parquet"))
    return texts


def validation_texts(run: RunFolder, index: int) -> pd.DataFrame:
    """Validation completions of a round's final prover, both roles."""
    frame = round_solutions(run, index)
    return frame[(frame.split == "validation") & (frame.phase == "collection")]


def valid(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with a readable answer."""
    return frame[frame.verdict != "invalid"]


def by_problem(frame: pd.DataFrame) -> pd.Series:
    """Accuracy per problem, indexed by problem id in sorted order."""
    return (frame.verdict == "correct").groupby(frame.problem_id.to_numpy()).mean().sort_index()


def _test(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.split == "test"]
