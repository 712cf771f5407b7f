"""What an evaluation has to do, counted before it begins, and how long that takes; then the scoring, done first.

All that a judge will be asked for is scored at once, by problem: it reads a question once for all texts that follow
it, and shows how far it is. The sections find every score made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow.parquet as pq

from legibility.evaluation.attacks.attack import Attack
from legibility.evaluation.finished_attacks import attacks_on_readers, finished_attacks
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.sections import acceptance, handoff, invariance, sufficiency
from legibility.evaluation.sections.hacking import changed_texts
from legibility.evaluation.sections.matrix import solution_sets
from legibility.evaluation.texts import SHORT, valid, validation_texts
from legibility.game.condition import CORRECTNESS, CORRECTNESS_SHORT, GAME, Judge
from legibility.game.phases import BASE
from legibility.game.prover_phase import load_training
from legibility.game.prover_plan import phase_name

PROBE = 96  # texts that are scored to see how long one takes
PER_WEIGHT = 3e-8  # seconds that a resample's weight of one text takes in one cell of the matrix


@dataclass(frozen=True)
class Workload:
    """What is not done yet. texts: by judge, those without a score. ppo_steps: of attacks and the length-penalised arm,
    as many as they make at most. cells: texts of all cells of the matrix."""

    texts: Mapping[Judge, pd.DataFrame]
    completions: int
    ppo_steps: int
    cells: int

    def __str__(self) -> str:
        scored = sum(map(len, self.texts.values()))
        parts = [
            f"{scored:,} texts to score" if scored else "",
            f"{self.completions:,} completions to draw" if self.completions else "",
            f"{self.ppo_steps:,} PPO steps at most" if self.ppo_steps else "",
        ]
        return ", ".join(filter(None, parts)) or "all scored and drawn before"


def workload(run: EvaluationRun, attacks: Sequence[Attack] = (), *, short_arm: bool = False) -> Workload:
    """What evaluating the run takes. attacks, short_arm: what is to be trained, unless it was before.

    Raises UserError as `EvaluationRun` does.
    """
    sets = solution_sets(run)
    anchor = valid(validation_texts(run.folder, 0))
    shared = pd.concat([frame[["problem_id", "text"]] for frame in (anchor, *(s.paired for s in sets))])
    restyled, texts = invariance.restyled_texts(run), {}
    for judge in run.judges:
        read = [shared, changed_texts(run, judge), invariance.texts_read(restyled, judge)]
        texts[judge] = run.scorer(judge).missing(pd.concat(read))
    for judge, frame in acceptance.texts_read(run).items():
        missing = run.scorer(judge).missing(frame)
        texts[judge] = pd.concat([texts[judge], missing]).drop_duplicates() if judge in texts else missing
    done = (*finished_attacks(run.folder), *attacks_on_readers(run.folder))
    made = {(r.reader, r.verifier, r.reward, r.seed) for r in (found.record for found in done)}
    steps = sum(a.cap for a in attacks if (a.reader, a.verifier, a.reward, a.seed) not in made)
    corner = phase_name(CORRECTNESS, 0)
    if (
        short_arm
        and run.folder.is_done(corner)
        and not any(map(run.folder.is_done, (SHORT, phase_name(CORRECTNESS_SHORT, 0))))
    ):
        steps += load_training(run.folder, CORRECTNESS, 0).steps
    drawn = run.completions_to_draw + handoff.lacking(run) + sufficiency.lacking(run)
    return Workload(texts, drawn, steps, len(run.judges) * sum(len(s.frame) for s in sets))


def announce(run: EvaluationRun, work: Workload) -> None:
    """Say what is to be done and about how long it takes, from what the run's own phases took and a few texts scored."""
    run.progress.note(f"evaluation of {run.folder.path}: {work}; about {_duration(seconds(run, work))}")


def seconds(run: EvaluationRun, work: Workload) -> float:
    """About how long the work takes: on this machine for scoring, on the run's for the rest."""
    total = work.cells * run.settings.evaluation.bootstrap * PER_WEIGHT
    waiting = {judge: frame for judge, frame in work.texts.items() if len(frame)}
    if waiting:
        judge, frame = max(waiting.items(), key=lambda pair: len(pair[1]))
        each = run.scorer(judge).seconds_a_text(frame.sort_values("problem_id", kind="stable").head(PROBE))
        total += each * (sum(map(len, waiting.values())) + work.completions)
    if work.completions:
        file = run.folder.folder(BASE) / "solutions.parquet"
        total += work.completions * run.folder.done_record(BASE).seconds / max(pq.read_metadata(file).num_rows, 1)
    if work.ppo_steps:
        phase = phase_name(GAME, run.rounds[0])
        steps = load_training(run.folder, GAME, run.rounds[0]).steps
        total += work.ppo_steps * run.folder.done_record(phase).seconds / max(steps, 1) / run.settings.attack.parallel
    return total


def score_ahead(run: EvaluationRun, work: Workload) -> None:
    """Score everything the sections will ask for, a judge after another, and show how far it is."""
    for judge, frame in work.texts.items():
        if len(frame):
            run.progress.phase(f"scores of {judge.label}", len(frame))
            run.scores(judge, frame, lambda count: run.progress.step(count, {}))
            run.progress.done(f"{len(frame):,} texts")


def _duration(took: float) -> str:
    return f"{max(1, round(took))} s" if took < 90 else f"{round(took / 60)} min"
