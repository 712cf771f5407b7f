"""The attacks a run has finished: their records and their text, read from the run folder."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from legibility.evaluation.attack_schema import AttackRecord, FixedReference
from legibility.evaluation.text_sets import GOODHART, Attackers
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import TRAINING, AttackTraining
from legibility.game.solutions import read_solutions

FOLDER = "evaluation/attacks"


@dataclass(frozen=True)
class FinishedAttack:
    """An attack that was made; `phase` is its folder in the run."""

    record: AttackRecord
    phase: str


def finished_attacks(run: RunFolder) -> list[FinishedAttack]:
    """Every finished attack on a round's verifier, one per verifier, reward and seed (the longest), in that order.

    Raises UserError for files that were changed or taken away.
    """
    return _finished(run, "v[0-9]*")


def attacks_on_readers(run: RunFolder) -> list[FinishedAttack]:
    """The same of attacks on the readers of arms, by arm."""
    return _finished(run, "reader_*")


def _finished(run: RunFolder, folders: str) -> list[FinishedAttack]:
    best: dict[tuple[str, int, str, int], FinishedAttack] = {}
    for folder in sorted((run.path / FOLDER).glob(folders)):
        phase = f"{FOLDER}/{folder.name}"
        if not run.is_done(phase):
            continue
        training = run.stored(phase, TRAINING, AttackTraining)
        exploited = training.steps_to_exploit is not None
        record = AttackRecord(
            verifier=training.round,
            reward=training.reward,
            seed=training.seed,
            steps=training.steps if training.steps_to_exploit is None else training.steps_to_exploit,
            exploited=exploited,
            cap=training.cap,
            quick=training.quick,
            start=training.start,
            settings=training.settings,
            trained=training.steps,
            equal_steps=training.equal_steps,
            fixed_reference=_fixed(training),
            reader=training.reader,
        )
        key = (record.reader or "", record.verifier, record.reward, record.seed)
        if key not in best or _length(record) > _length(best[key].record):
            best[key] = FinishedAttack(record, phase)
    return [best[key] for key in sorted(best)]


def _length(record: AttackRecord) -> tuple[int, int]:
    return record.watched, record.cap


def _fixed(training: AttackTraining) -> FixedReference | None:
    if training.fixed_reference_score is None and training.reward != GOODHART:
        return None
    at = training.steps_to_exploit if training.reward == GOODHART else training.steps_to_exploit_fixed
    return FixedReference(steps=training.steps if at is None else at, exploited=at is not None)


def attacker_texts(run: RunFolder) -> dict[Attackers, pd.DataFrame]:
    """Test text of finished attackers, all seeds together. Raises UserError for files that were changed."""
    parts: dict[Attackers, list[pd.DataFrame]] = {}
    for made in finished_attacks(run):
        frame = read_solutions(run.verified(made.phase) / "solutions.parquet")
        whose = Attackers(made.record.reward, made.record.verifier)
        parts.setdefault(whose, []).append(frame[frame.split == "test"])
    return {whose: pd.concat(frames, ignore_index=True) for whose, frames in parts.items()}
