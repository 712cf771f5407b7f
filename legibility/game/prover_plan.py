"""What a prover phase is: who writes, what is paid, when it ends. One plan for every arm, round and attack.

`legibility.game.prover_phase` runs plans. A round of the game answers every problem in both roles (Kirchner et al. 2024,
Sec. 3.2); the correctness-only arm writes twice the text in the helpful role, paid by the grader; a Goodhart game
(eq. 4) has no roles, and ends where its accuracy collapses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from legibility.game.condition import ARM_OF, CORRECTNESS, GAME, ROUND_ARMS
from legibility.game.context import Game, Writer, write_plainly
from legibility.game.phases import arm_prover, round_prover
from legibility.game.rollout_columns import Rollouts, correctness_rewards, score_scale, verifier_rewards
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import ProverTraining
from legibility.game.solutions import Solution
from legibility.game.stop import CollapseTracker, FooledTracker, Tracker
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.prompts import HELPFUL, ROLES


@dataclass(frozen=True)
class Plan:
    """One prover phase: who writes, what is paid, when it ends.

    `trainer` is ours, or one of TRL's. `arm` and `index` key its random numbers and label its completions. `pay(rollouts, scale)` returns the
    rewards (n,); `record` makes the phase's training.json. `extra(prover, step, last)` may return more
    completions to store, after every step. Without a `verifier` nothing is scored; without a `tracker` all
    steps are done. `write` draws the text (by default every problem in every role); `beside` are the models that it
    needs beside the prover. `measure` adds step metrics, `facts` what training.json says of all completions.
    """

    phase: str
    title: str
    arm: str
    index: int
    steps: int
    roles: tuple[str, ...]
    problems_per_step: int
    prover: Callable[[], Prover]
    pay: Callable[[Rollouts, float], np.ndarray]
    record: Callable[..., ProverTraining]  # makes training.json of what the loop knows
    verifier: Verifier | None = None
    scale: Literal["calibrated", "running", "none"] = "none"
    tracker: Tracker | None = None
    extra: Callable[[Prover, int, bool], list[Solution]] | None = None
    gated: bool = True
    keep_weights: bool = True
    trainer: Literal["ppo", "grpo", "rloo"] = "ppo"
    write: Writer = write_plainly
    beside: tuple[Prover, ...] = ()
    measure: Callable[[Rollouts], Mapping[str, float]] = lambda rollouts: {}
    facts: Callable[[Sequence[Solution]], Mapping[str, object]] = lambda rows: {}


def phase_name(arm: str, index: int) -> str:
    """The phase in which an arm's prover of round `index` is trained: its folder inside the run."""
    return round_prover(index, arm) if arm in (GAME, *ROUND_ARMS) else arm_prover(arm)


def trained_provers(run: RunFolder) -> list[tuple[str, int]]:
    """Arm and round of every finished prover phase of the game and its arms, in order (0: an arm without rounds)."""
    found = [(GAME, index) for index in run.rounds()]
    for arm in ARM_OF.values():
        if arm in ROUND_ARMS:
            found += [(arm, index) for index in run.rounds(arm)]
        elif arm != GAME and run.is_done(phase_name(arm, 0)):
            found.append((arm, 0))
    return found


def round_plan(game: Game, arm: str, index: int, verifier: Verifier | None, steps: int) -> Plan:
    """A round of the game, or of an arm like it: both roles, paid by a frozen verifier, until it is fooled."""
    settings = game.config
    plan = Plan(
        phase=phase_name(arm, index),
        title=f"round {index} prover",
        arm=arm,
        index=index,
        steps=steps,
        roles=ROLES,
        problems_per_step=settings.ppo.problems_per_step,
        prover=lambda: game.new_prover(arm, index),
        pay=lambda rollouts, scale: verifier_rewards(settings.reward, rollouts, scale),
        verifier=verifier,
        scale=score_scale(settings.reward),
        tracker=FooledTracker(settings.stop),
        record=partial(ProverTraining, reward=settings.reward.kind),
        trainer=settings.prover.trainer,
    )
    if settings.reward.kind == "goodhart":  # no roles
        plan = replace(
            plan,
            roles=(HELPFUL,),
            problems_per_step=2 * settings.ppo.problems_per_step,
            tracker=CollapseTracker(settings.stop),
        )
    return plan


def correctness_plan(game: Game, steps: int) -> Plan:
    """The correctness-only arm: as many completions a step as the game's, all helpful, +1 or -1 by the grader."""
    return Plan(
        phase=phase_name(CORRECTNESS, 0),
        title="correctness-only prover",
        arm=CORRECTNESS,
        index=0,
        steps=steps,
        roles=(HELPFUL,),
        problems_per_step=2 * game.config.ppo.problems_per_step,
        prover=lambda: game.new_prover(CORRECTNESS, 0),
        pay=lambda rollouts, _: correctness_rewards(rollouts),
        extra=lambda prover, step, _: _halfway(game, prover, step) if step == max(1, steps // 2) else [],
        record=partial(ProverTraining, reward=CORRECTNESS),
        trainer=game.config.prover.trainer,
    )


def _halfway(game: Game, prover: Prover, step: int) -> list[Solution]:
    """Test text of the correctness arm at half its steps: as many helpful samples as the game saw."""
    return game.draw(
        prover,
        game.splits.test,
        (HELPFUL,),
        game.config.evaluation.samples,
        arm=CORRECTNESS,
        round_index=0,
        phase="halfway",
        split="test",
        step=step,
        temperature=game.config.sampling.evaluation_temperature,
    ).rows
