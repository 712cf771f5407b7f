"""Arms that play rounds as the game does: a verifier that has read the arm's earlier rounds, then a prover against it.

What differs from the game is who writes what and how it is paid. Round 0's verifier is the game's: it has read base text
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from legibility.game.collection import collect_round
from legibility.game.condition import ARMS
from legibility.game.context import Game, Writer
from legibility.game.prover_phase import run_prover_phase
from legibility.game.prover_plan import Plan, round_plan
from legibility.game.solutions import check_round, round_solutions
from legibility.game.verifier_phase import train_round_verifier
from legibility.models.prover import Prover


def play_rounds(
    game: Game,
    arm: str,
    write: Writer,
    change: Callable[[Plan], Plan] = lambda plan: plan,
    beside: Sequence[Prover] = (),
) -> None:
    """All rounds of an arm that are not done yet.

    write: what draws its text, with the models `beside` the prover. change: what its plans have otherwise than the game's.
    """
    for index in range(game.config.game.rounds):
        check_round(game.run, index, arm)
    for index in range(game.config.game.rounds):
        verifier = train_round_verifier(game, index, arm)
        plan = replace(
            round_plan(game, arm, index, verifier, game.config.ppo.steps),
            title=f"{ARMS[arm]}, round {index} prover",
            write=write,
            beside=tuple(beside),
        )
        run_prover_phase(game, change(plan))
        collect_round(game, index, verifier, arm, write, beside)


def texts(game: Game, arm: str) -> dict[int, pd.DataFrame]:
    """What an arm wrote in every round. Raises UserError for a file that is missing or changed."""
    return {index: round_solutions(game.run, index, arm) for index in range(game.config.game.rounds)}
