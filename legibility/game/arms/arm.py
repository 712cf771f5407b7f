"""What an arm is: a name, how it is played, and the phases it leaves in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from legibility.config import Config
from legibility.game.condition import ARM_OF
from legibility.game.context import Game
from legibility.game.phases import arm_collection, arm_prover, round_collection, round_prover, round_verifier
from legibility.game.trained_elsewhere import TrainProver
from legibility.models.prover import Prover
from legibility.rival_settings import ArmName


@dataclass(frozen=True)
class Budget:
    """What an arm may spend: as many PPO steps as the game's last round made, so that arms are compared at equal steps.

    train_prover: what trains the correctness-only prover (PPO here, or another program).
    """

    steps: int
    train_prover: TrainProver


@dataclass(frozen=True)
class Arm:
    """An arm of the game, called `name` in `game.arms`. `play` makes its phases that are not done yet.

    rounds: whether it plays rounds with verifiers of its own. before, after: further phases that it makes, of a config.
    check: what raises UserError, before a run folder is made, where these settings, this base policy and this device will
    not do for it.
    """

    name: ArmName
    play: Callable[[Game, Budget], None]
    rounds: bool = False
    before: Callable[[Config], list[str]] = lambda config: []
    after: Callable[[Config], list[str]] = lambda config: []
    check: Callable[[Config, Prover, str, Path | None], None] | None = None

    @property
    def key(self) -> str:
        """The arm as conditions have it."""
        return ARM_OF[self.name]

    def phases(self, config: Config) -> list[str]:
        """Its phases in order, as `play` makes them."""
        if not self.rounds:
            own = [arm_prover(self.key), arm_collection(self.key)]
        else:
            parts, rounds = (round_verifier, round_prover, round_collection), range(config.game.rounds)
            own = [part(i, self.key) for i in rounds for part in parts if i or part != round_verifier]
        return [*self.before(config), *own, *self.after(config)]
