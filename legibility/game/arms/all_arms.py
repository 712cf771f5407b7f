"""All arms beside the game, in the order in which they are played, and their readers."""

from __future__ import annotations

import pandas as pd

from legibility.config import Config
from legibility.game.arms import consultancy, correctness, decoupled, length_penalised, rft, sneaky_step, tandem
from legibility.game.arms.arm import Arm, Budget
from legibility.game.arms.rounds import texts
from legibility.game.condition import GAME, reader
from legibility.game.context import Game
from legibility.game.phases import arm_collection
from legibility.game.solutions import read_solutions
from legibility.game.verifier_phase import train_reader

ARMS: tuple[Arm, ...] = (
    correctness.ARM,
    length_penalised.ARM,
    decoupled.ARM,
    rft.ARM,
    consultancy.ARM,
    tandem.ARM,
    sneaky_step.ARM,
)


def planned(config: Config) -> list[Arm]:
    """The arms that a game of these settings plays after its rounds, in order."""
    return [arm for arm in ARMS if arm.name in config.game.played]


def arm_phases(config: Config) -> list[str]:
    """Every phase of the arms, and of the readers, in order."""
    arms = planned(config)
    readers = [GAME, *(arm.key for arm in arms)] if config.game.readers else []
    return [*(phase for arm in arms for phase in arm.phases(config)), *(reader(arm).phase for arm in readers)]


def play_arms(game: Game, budget: Budget) -> None:
    """Every arm's phases that are not done yet, then every reader's. Raises UserError and GateClosed as phases do."""
    arms = planned(game.config)
    for arm in arms:
        arm.play(game, budget)
    if game.config.game.readers:
        for key, rounds in ((GAME, True), *((arm.key, arm.rounds) for arm in arms)):
            if not game.run.is_done(reader(key).phase):
                train_reader(game, key, texts(game, key) if rounds else {0: _text(game, key)})


def _text(game: Game, arm: str) -> pd.DataFrame:
    """What an arm without rounds wrote. Raises UserError where its collection is unfinished or changed."""
    return read_solutions(game.run.verified(arm_collection(arm)) / "solutions.parquet")
