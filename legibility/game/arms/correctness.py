"""The correctness-only arm: PPO on the grader's verdict alone (Kirchner et al. 2024, Sec. 4.1)."""

from __future__ import annotations

from legibility.game.arms.arm import Arm, Budget
from legibility.game.collection import collect_arm
from legibility.game.condition import CORRECTNESS
from legibility.game.context import Game
from legibility.game.extension import bring_back_arm


def play(game: Game, budget: Budget) -> None:
    """Train the prover, or bring back the one of a shorter game, and collect its text."""
    bring_back_arm(game.run, budget.steps)
    budget.train_prover(game, CORRECTNESS, 0, None, budget.steps)
    collect_arm(game, CORRECTNESS)


ARM = Arm("correctness", play)
