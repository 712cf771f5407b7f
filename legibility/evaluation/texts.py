"""Which stored completions a figure is computed from."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from legibility.game.condition import (
    ARM_OF,
    BASE_ROLE,
    CORRECTNESS,
    CORRECTNESS_HALFWAY,
    CORRECTNESS_ONLY,
    CORRECTNESS_SHORT,
    GAME,
    HALFWAY,
    INIT,
    LENGTH_PENALISED,
    ROUND_ARMS,
    START,
    START_SNEAKY,
    Condition,
    Judge,
    conditions_of,
    helpful,
    sneaky,
    verifier,
)
from legibility.game.phases import BASE, arm_collection, arm_prover, round_collection
from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, round_solutions
from legibility.prompts import HELPFUL, SNEAKY

COLLECTION, CORRECTNESS_PROVER = arm_collection(CORRECTNESS), arm_prover(CORRECTNESS)
SHORT = "evaluation/arms/correctness_short"
"""The length-penalised correctness arm; only an evaluation trains it."""


def test_texts(run: RunFolder) -> dict[Condition, pd.DataFrame]:
    """Test completions by who wrote them, in the order of conditions; only what is finished.

    Raises UserError for files that were changed.
    """
    base = _test(read_solutions(run.verified(BASE) / "solutions.parquet"))
    texts = {START: base[base.role == BASE_ROLE], START_SNEAKY: base[base.role == SNEAKY]}
    for index in run.rounds():
        frame = _test(round_solutions(run, index))
        frame = frame[frame.phase == "collection"]
        texts[helpful(index)] = frame[frame.role == HELPFUL]
        texts[sneaky(index)] = frame[frame.role == SNEAKY]
    if run.is_done(COLLECTION):
        texts[CORRECTNESS_ONLY] = _test(read_solutions(run.verified(COLLECTION) / "solutions.parquet"))
        frame = read_solutions(run.verified(CORRECTNESS_PROVER) / "solutions.parquet")
        halfway = frame[frame.phase == "halfway"]
        if len(halfway):  # none of an arm that another program trained
            texts[HALFWAY] = halfway
    short = next((phase for phase in (arm_collection(CORRECTNESS_SHORT), SHORT) if run.is_done(phase)), None)
    if short:
        texts[LENGTH_PENALISED] = _test(read_solutions(run.verified(short) / "solutions.parquet"))
    return {**texts, **_rival_texts(run)}


def text_phase(run: RunFolder, condition: Condition) -> str:
    """The phase that drew a condition's test text."""
    arm = condition.arm
    if arm in (GAME, *ROUND_ARMS):
        return round_collection(condition.round, arm)
    own = {INIT: BASE, CORRECTNESS_HALFWAY: CORRECTNESS_PROVER}.get(arm, arm_collection(arm))
    return SHORT if arm == CORRECTNESS_SHORT and not run.is_done(own) else own


def scored_by(run: RunFolder, condition: Condition) -> Judge | None:
    """The judge whose scores stand beside a condition's test text; None: no judge of the run's, or no scores.

    Rounds are scored by their own verifier (of other arms than the game only round 0's is a judge), arms without rounds
    by the game's last.
    """
    arm, rounds = condition.arm, run.rounds()
    if arm == GAME or (arm in ROUND_ARMS and condition.round == 0):
        return verifier(condition.round)
    alone = arm in ARM_OF.values() and arm not in ROUND_ARMS and run.is_done(arm_collection(arm))
    return verifier(rounds[-1]) if alone and rounds else None


def _rival_texts(run: RunFolder) -> dict[Condition, pd.DataFrame]:
    """Test completions of the arms beside the game and the correctness-only ones."""
    frames = []
    for arm in sorted(set(ARM_OF.values()) - {GAME, CORRECTNESS, CORRECTNESS_SHORT}):
        rounds = run.rounds(arm) if arm in ROUND_ARMS else []
        frames += [round_solutions(run, index, arm) for index in rounds]
        if run.is_done(arm_collection(arm)):
            frames.append(read_solutions(run.verified(arm_collection(arm)) / "solutions.parquet"))
    if not frames:
        return {}
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[(frame.split == "test") & (frame.phase == "collection")]
    return {
        c: frame[(frame.arm == c.arm) & (frame["round"] == c.round) & (frame.role == c.role)]
        for c in conditions_of(frame)
    }


def honest(texts: Mapping[Condition, pd.DataFrame]) -> list[Condition]:
    """The arms whose text is measured for legibility: every condition's honest text, in order, where there is any.

    The prover that is halfway through its training is no arm of its own.
    """
    return [c for c in sorted(texts) if not c.sneaky and c.arm != CORRECTNESS_HALFWAY and len(texts[c])]


def first_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The first text of every problem, by problem id. frame: columns of solutions.parquet, of one condition."""
    return frame.sort_values("sample", kind="stable").drop_duplicates("problem_id").set_index("problem_id")


def validation_texts(run: RunFolder, index: int) -> pd.DataFrame:
    """Validation completions of a round's final prover, both roles. Raises UserError for files that were changed."""
    frame = round_solutions(run, index)
    return frame[(frame.split == "validation") & (frame.phase == "collection")]


def helpful_correct(run: RunFolder, index: int) -> pd.DataFrame:
    """Helpful-correct validation text of a round: what thresholds and attacks are held against."""
    frame = validation_texts(run, index)
    return of_verdict(frame[frame.role == HELPFUL], "correct")


def arm_validation(run: RunFolder, arm: str) -> pd.DataFrame:
    """Validation completions of an arm's last prover, all roles. Raises UserError for files that were changed."""
    if arm in (GAME, *ROUND_ARMS):
        frame = round_solutions(run, run.rounds(arm)[-1], arm)
    else:
        frame = read_solutions(run.verified(arm_collection(arm)) / "solutions.parquet")
    return frame[(frame.split == "validation") & (frame.phase == "collection")]


def valid(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with a readable answer."""
    return frame[frame.verdict != "invalid"]


def of_verdict(frame: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """Rows with one verdict: "correct", "incorrect" or "invalid"."""
    return frame[frame.verdict == verdict]


def by_problem(frame: pd.DataFrame) -> pd.Series:
    """Accuracy per problem, indexed by problem id in sorted order."""
    return (frame.verdict == "correct").groupby(frame.problem_id.to_numpy()).mean().sort_index()


def _test(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.split == "test"]
