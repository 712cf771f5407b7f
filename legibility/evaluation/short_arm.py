"""The length-penalised correctness arm of a run that did not play it (`game.arms`): an evaluation trains it then."""

from __future__ import annotations

from dataclasses import replace

from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.texts import SHORT
from legibility.game.arms.length_penalised import plan, refuse_other_penalty
from legibility.game.condition import CORRECTNESS, CORRECTNESS_SHORT
from legibility.game.prover_phase import load_training, run_prover_phase
from legibility.game.prover_plan import phase_name
from legibility.prompts import HELPFUL


def train(opened: EvaluationRun) -> None:
    """Train the arm and sample its test text, unless that is done. Nothing where the run has no correctness arm.

    Raises UserError where it was trained with another penalty.
    """
    game, penalty, run = opened.game, opened.settings.evaluation.length_penalty, opened.folder
    for phase in (phase_name(CORRECTNESS_SHORT, 0), SHORT):
        if run.is_done(phase):
            refuse_other_penalty(game, phase, penalty)
            return
    if not run.is_done(phase_name(CORRECTNESS, 0)):
        return
    run_prover_phase(
        game,
        replace(
            plan(game, load_training(run, CORRECTNESS, 0).steps, penalty),
            phase=SHORT,
            extra=opened.last_text(HELPFUL, arm=CORRECTNESS_SHORT, round_index=0, phase="collection", step=0),
        ),
    )
