"""The length-penalised correctness arm: a control for "the game's text is easier to check because it is shorter".

The correctness-only arm again (same start, steps and KL), paid +1 or -1 minus
`evaluation.length_penalty` times its length as a share of the completion limit. Not in the paper.
"""

from __future__ import annotations

from functools import partial

from legibility.errors import UserError
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import SHORT
from legibility.game.condition import CORRECTNESS, CORRECTNESS_SHORT
from legibility.game.prover_phase import Plan, load_training, phase_name, run_prover_phase
from legibility.game.rollout_columns import correctness_rewards
from legibility.game.run_records import TRAINING, LengthPenalisedTraining
from legibility.prompts import HELPFUL


def train(opened: EvaluationRun) -> None:
    """Train the arm and sample its test text, unless that is done. Nothing where the run has no correctness arm.

    Raises UserError where it was trained with another penalty.
    """
    game, settings, run = opened.game, opened.settings, opened.folder
    penalty, limit = settings.evaluation.length_penalty, settings.sampling.max_new_tokens
    if run.is_done(SHORT):
        made = run.stored(SHORT, TRAINING, LengthPenalisedTraining).length_penalty
        if made != penalty:
            raise UserError(
                f"{run.folder(SHORT)}: trained with evaluation.length_penalty {made}; delete it to train it with {penalty}"
            )
        return
    if not run.is_done(phase_name(CORRECTNESS, 0)):
        return

    run_prover_phase(
        game,
        Plan(
            phase=SHORT,
            title="correctness-only, length-penalised",
            arm=CORRECTNESS_SHORT,
            index=0,
            steps=load_training(run, CORRECTNESS, 0).steps,
            roles=(HELPFUL,),
            problems_per_step=2 * settings.ppo.problems_per_step,
            prover=lambda: game.new_prover(CORRECTNESS_SHORT),
            pay=lambda rollouts, _: correctness_rewards(rollouts) - penalty * (rollouts.length / limit),
            extra=opened.last_text(HELPFUL, arm=CORRECTNESS_SHORT, round_index=0, phase="collection", step=0),
            gated=False,
            trainer=settings.prover.trainer,
            record=partial(LengthPenalisedTraining, reward=CORRECTNESS_SHORT, length_penalty=penalty),
        ),
    )
