"""The length-penalised correctness arm: a control for "the game's text is easier to check because it is shorter".

The correctness-only arm again (same start, steps and KL), paid +1 or -1 minus
`evaluation.length_penalty` times its length as a share of the completion limit. Not in the paper.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from legibility.errors import UserError
from legibility.game.arms.arm import Arm, Budget
from legibility.game.collection import collect_arm
from legibility.game.condition import CORRECTNESS_SHORT
from legibility.game.context import Game
from legibility.game.prover_phase import run_prover_phase
from legibility.game.prover_plan import Plan, correctness_plan, phase_name
from legibility.game.rollout_columns import correctness_rewards
from legibility.game.run_records import TRAINING, LengthPenalisedTraining


def plan(game: Game, steps: int, penalty: float) -> Plan:
    """The correctness-only arm's plan with text paid less the longer it is. penalty: taken off at the length limit."""
    limit = game.config.sampling.max_new_tokens
    return replace(
        correctness_plan(game, steps),
        phase=phase_name(CORRECTNESS_SHORT, 0),
        title="correctness-only, length-penalised",
        arm=CORRECTNESS_SHORT,
        prover=lambda: game.new_prover(CORRECTNESS_SHORT),
        pay=lambda rollouts, _: correctness_rewards(rollouts) - penalty * (rollouts.length / limit),
        extra=None,
        gated=False,
        record=partial(LengthPenalisedTraining, reward=CORRECTNESS_SHORT, length_penalty=penalty),
    )


def play(game: Game, budget: Budget) -> None:
    """Train the prover and collect its text."""
    run_prover_phase(game, plan(game, budget.steps, game.config.evaluation.length_penalty))
    collect_arm(game, CORRECTNESS_SHORT)


def refuse_other_penalty(game: Game, phase: str, penalty: float) -> None:
    """Raises UserError where a finished phase of the arm was trained with another penalty."""
    made = game.run.stored(phase, TRAINING, LengthPenalisedTraining).length_penalty
    if made != penalty:
        raise UserError(
            f"{game.run.folder(phase)}: trained with evaluation.length_penalty {made}; delete it to train it with {penalty}"
        )


ARM = Arm("length_penalised", play)
