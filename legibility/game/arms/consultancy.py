"""Consultancy: no game. One prover phase against a verifier that has read base text alone and never learns again.

A coin gives every problem one role, helpful or sneaky, as a consultant is told which side to argue for (Khan et al.
2024, arXiv 2402.06782; Arnesen et al. 2024, arXiv 2409.16636). It is paid as a prover of the game is. Departures: there
the side is an answer, here a role; there the judge may ask back, here it reads one text. The verifier is round 0's, and
no stop rule ends the phase: what a fixed verifier can be talked into is the point.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from legibility.game.arms.arm import Arm, Budget
from legibility.game.collection import collect_arm
from legibility.game.condition import CONSULTANCY
from legibility.game.context import Drawn, Game, WritingTask
from legibility.game.prover_phase import run_prover_phase
from legibility.game.prover_plan import phase_name, round_plan
from legibility.models.prover import Prover
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL, ROLES, SNEAKY
from legibility.randomness import stream


def play(game: Game, budget: Budget) -> None:
    """Train the prover against round 0's verifier, and collect its text in both roles."""
    if not game.run.is_done(phase_name(CONSULTANCY, 0)):
        plan = replace(
            round_plan(game, CONSULTANCY, 0, game.saved_verifier(0), budget.steps),
            title="consultancy prover",
            problems_per_step=2 * game.config.ppo.problems_per_step,
            tracker=None,
            write=write,
        )
        run_prover_phase(game, plan)
    collect_arm(game, CONSULTANCY, ROLES)


def write(
    game: Game, prover: Prover, problems: list[Problem], roles: tuple[str, ...], samples: int, **where: Any
) -> Drawn:
    """`Game.draw` with one role for every problem, by coin."""
    coins = stream(game.config.seed, CONSULTANCY, "coin", where["step"]).random(len(problems)) < 0.5
    tasks = [
        WritingTask(problem, role, prover.prompt_ids(problem, role))
        for role in roles
        for problem, coin in zip(problems, coins, strict=True)
        if role == (SNEAKY if coin else HELPFUL)
    ]
    return game.draw_tasks(prover, tasks, samples, **where)


ARM = Arm("consultancy", play)
