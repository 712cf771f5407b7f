"""After a prover phase: sample the trained prover for later verifiers and for the reports.

Verifier-half problems feed the mixture of later rounds, validation problems gates and thresholds,
test problems the reports. Test and validation text is scored by the round's own verifier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from legibility.config import Config
from legibility.game import gates
from legibility.game.condition import ARMS, GAME
from legibility.game.context import Game, Writer, write_plainly
from legibility.game.mixture import component, component_weights
from legibility.game.phases import arm_collection, round_collection, saved_provers
from legibility.game.prover_plan import phase_name
from legibility.game.solutions import Solution, merge_round, read_solutions, round_solutions, write_solutions
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.problems.splits import Part
from legibility.prompts import HELPFUL, ROLES, SNEAKY

REPORTED: tuple[Part, ...] = ("validation", "test")


@dataclass(frozen=True)
class _Job:
    """Text to draw of one prover: `samples` completions of every problem of a part in one role."""

    prover: Path
    step: int  # at which the prover was saved; 0: at the end
    split: Part
    role: str
    samples: int


def collect_round(
    game: Game,
    index: int,
    verifier: Verifier,
    arm: str = GAME,
    write: Writer = write_plainly,
    beside: Sequence[Prover] = (),
) -> None:
    """Sample both roles of the round's final prover (and its saved checkpoints, if the mixture wants them).

    arm: whose round it is. write: what draws its text; beside: the models that it needs beside the prover.
    Raises UserError where the prover's phase is unfinished or changed, GateClosed where the helpful prover hardly
    ever succeeds any more. (Under the Goodhart reward accuracy is meant to collapse, so nothing is asked of it.)
    """
    phase, title = round_collection(index, arm), f"round {index}" if arm == GAME else f"{ARMS[arm]}, round {index}"
    if not game.run.is_done(phase):
        folder = game.run.verified(phase_name(arm, index))
        provers = [(0, folder)]  # the step each was saved at; 0: the end
        if game.config.mixture.checkpoints == "all":
            provers = [*saved_provers(folder), *provers]
        samples, sizes = game.config.evaluation.samples, collection_sizes(game.config, index)
        jobs = [
            _Job(place, step, "verifier", role, max(1, sizes[role] // len(provers)))
            for step, place in provers
            for role in sizes
        ]
        jobs += [_Job(folder, 0, split, role, samples) for split in REPORTED for role in ROLES]
        game.progress.phase(f"{title} collection", len(jobs))
        rows: list[Solution] = []
        shown: dict[str, float] = {}
        with game.run.phase(phase) as work:
            for place, own_jobs in groupby(enumerate(jobs, start=1), key=lambda numbered: numbered[1].prover):
                prover = game.saved_prover(place)
                with game.team.together(prover, verifier, *beside):
                    for k, job in own_jobs:
                        drawn = write(
                            game,
                            prover,
                            game.splits.part(job.split),
                            (job.role,),
                            job.samples,
                            arm=arm,
                            round_index=index,
                            phase="collection",
                            split=job.split,
                            step=job.step,
                            temperature=game.temperature(job.split),
                        ).rows
                        if job.split in REPORTED:
                            game.score(verifier, drawn)
                        shown[job.role] = float(np.mean([r.verdict == "correct" for r in drawn]))
                        rows += drawn
                        game.progress.step(k, shown)
            write_solutions(work / "solutions.parquet", rows)
        game.progress.done(f"test accuracy helpful {shown[HELPFUL]:.3f}, sneaky {shown[SNEAKY]:.3f}")
    merge_round(game.run, index, arm)
    if game.config.reward.kind != "goodhart":
        _check_gate(game, f"{title} prover", round_solutions(game.run, index, arm))


def collection_sizes(config: Config, index: int) -> dict[str, int]:
    """Completions per verifier problem that a round's collection draws of each role.

    A Goodhart game has no roles, so that later verifiers read what was written under the helpful prompt alone.
    With `game.collection_by_share` in proportion to the largest share that any later verifier's mixture gives
    to the round; the last round, which no verifier of the game reads, keeps the least.
    """
    settings, mixture = config.game, config.mixture
    full = {
        HELPFUL: settings.collection_samples,
        SNEAKY: settings.collection_samples_sneaky or settings.collection_samples,
    }
    if config.reward.kind == "goodhart":
        full = {HELPFUL: sum(full.values())}
    if not settings.collection_by_share:
        return full

    def share(past: int) -> float:
        later = ([component(i) for i in (None, *range(r))] for r in range(past + 1, settings.rounds))
        return max((component_weights(names, mixture)[component(past)] for names in later), default=0.0)

    most = max(share(past) for past in range(settings.rounds)) or 1.0
    return {role: max(2, math.ceil(count * share(index) / most - 1e-9)) for role, count in full.items()}


def collect_arm(game: Game, arm: str, roles: Sequence[str] = (HELPFUL,)) -> None:
    """Sample the prover of an arm without rounds on validation and test problems, scored by the last round's verifier.

    Where arms have readers, also on the verifiers' problems. Raises GateClosed where it hardly ever succeeds.
    """
    phase = arm_collection(arm)
    if not game.run.is_done(phase):
        _collect_arm(game, arm, phase, roles)
    _check_gate(game, f"{ARMS[arm]} prover", read_solutions(game.run.folder(phase) / "solutions.parquet"))


def _check_gate(game: Game, title: str, rows: pd.DataFrame) -> None:
    """The gate behind a prover phase: accuracy of helpful validation text."""
    helpful = rows[
        (rows.phase == "collection") & (rows.split == "validation") & (rows.role == HELPFUL) & (rows.step == 0)
    ]
    reasons = gates.check_prover(game.config.gates, float((helpful.verdict == "correct").mean()))
    gates.enforce(game.config.gates, title, reasons, game.force, game.progress.warn)


def _collect_arm(game: Game, arm: str, phase: str, roles: Sequence[str]) -> None:
    prover = game.saved_prover(game.run.verified(phase_name(arm, 0)))
    verifier = game.saved_verifier(game.config.game.rounds - 1)
    parts: list[Part] = [*(["verifier"] if game.config.game.readers else []), *REPORTED]  # type: ignore[list-item]
    jobs = [(part, role) for part in parts for role in roles]
    game.progress.phase(f"{ARMS[arm]} collection", len(jobs))
    rows: list[Solution] = []
    shown: dict[str, float] = {}
    with game.run.phase(phase) as work, game.team.together(prover, verifier):
        for k, (part, role) in enumerate(jobs, start=1):
            drawn = game.draw(
                prover,
                game.splits.part(part),
                (role,),
                game.config.evaluation.samples if part in REPORTED else game.config.game.collection_samples,
                arm=arm,
                round_index=0,
                phase="collection",
                split=part,
                step=0,
                temperature=game.temperature(part),
            ).rows
            if part in REPORTED:
                game.score(verifier, drawn)
            rows += drawn
            shown[role] = float(np.mean([r.verdict == "correct" for r in drawn]))
            game.progress.step(k, shown)
        write_solutions(work / "solutions.parquet", rows)
    game.progress.done("test accuracy " + ", ".join(f"{role} {value:.3f}" for role, value in shown.items()))
