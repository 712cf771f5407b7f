"""More rounds for a run that has begun, or is finished: `train --resume` with a larger `game.rounds`.

The rounds that are there stay as they are, byte for byte, and those to come are the ones that a game of that many
rounds would have played: no random number depends on how many there are. What tells of the game as a whole does (summary,
report, arms without rounds, which are as long as the last round, readers, and evaluation sections). It is moved to
`earlier/rounds_NN` and made anew, so nothing is lost and old figures never stand among new ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from legibility.config import Config
from legibility.errors import UserError
from legibility.files import sync
from legibility.game.collection import collection_sizes
from legibility.game.condition import ARM_OF, CORRECTNESS, DECOUPLED, GAME, INIT
from legibility.game.phases import (
    ALONE,
    arm_collection,
    arm_folder,
    arm_prover,
    arm_reader,
    earlier_folder,
    handoff_folder,
    round_collection,
    sufficiency_folder,
)
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import DONE, TRAINING, AttackTraining, ProverTraining
from legibility.game.setting_changes import changed_settings
from legibility.pasted import typed_command
from legibility.stored import read_stored

ROUNDS = "game.rounds"
WHOLE = (
    "summary.json",
    "report.html",
    "figures",
    "human.json",
    "evaluation/*.json",
    "evaluation/scores",
    "evaluation/arms/*",
)
"""What tells of the game as a whole, beside arms without rounds and readers. Pools and most attacks are of one round and stay."""
OF_ONE_ROUND = (INIT, GAME, ALONE)
"""How the folders begin of what was made of the text of the start or of a round: it stays, that of other arms goes."""


def begun_with(out: Path, config: Config) -> Config:
    """The settings that run folder `out` began with, where `config` asks for more rounds of the same; else `config`.

    Raises UserError for fewer rounds, and where a finished round would have been another in a longer game.
    """
    run = RunFolder(out)
    if not run.config_file.is_file():
        return config
    stored = run.config()
    begun, wanted = stored.game.rounds, config.game.rounds
    if [c.name for c in changed_settings(stored, config)] != [ROUNDS]:
        return config
    if wanted < begun:
        raise UserError(
            f"{out}: {ROUNDS}: a run of {begun} rounds can have more, not {wanted}; choose another --out for a shorter game"
        )
    for index in range(begun):
        if run.is_done(round_collection(index)):
            _refuse_other_sizes(out, index, stored, config)
    return stored


def _refuse_other_sizes(out: Path, index: int, stored: Config, config: Config) -> None:
    had, wanted = collection_sizes(stored, index), collection_sizes(config, index)
    if had != wanted:
        role = next(role for role in wanted if had[role] != wanted[role])
        raise UserError(
            f"{out}: {ROUNDS}={config.game.rounds}: round {index} collected {had[role]} {role} completions a problem and would have "
            f"collected {wanted[role]} in so long a game (game.collection_by_share); choose another --out"
        )


def extend(run: RunFolder, begun: int, config: Config) -> Path:
    """Move what tells of the game as a whole aside and give an open run its new settings. Returns where it went.

    Killed at any moment, it goes on when it is called again. Raises OSError for what cannot be moved.
    """
    aside = run.folder(earlier_folder(begun))
    for path in list(_whole(run)):
        _move(path, aside / path.relative_to(run.path))
    run.replace_settings(config, begun, typed_command())
    return aside


def bring_back_arm(run: RunFolder, steps: int) -> None:
    """Put a correctness-only prover that was moved aside in its place again, where it made as many steps as it has to."""
    phase = arm_prover(CORRECTNESS)
    for begun in reversed(run.manifest().extended or []):
        aside = run.folder(earlier_folder(begun)) / phase
        if not run.is_done(phase) and (aside / DONE).is_file():
            training = read_stored(aside / TRAINING, ProverTraining, fix=f"delete {aside}")
            if training.steps == steps:
                _move(aside, run.folder(phase))


def _whole(run: RunFolder) -> Iterator[Path]:
    yield from (p for pattern in WHOLE for p in sorted(run.path.glob(pattern)))
    decoupled = run.folder(arm_folder(DECOUPLED))  # its solver is the correctness-only arm's
    yield from [decoupled] if decoupled.exists() else []
    for arm in (arm for arm in ARM_OF.values() if arm != DECOUPLED):
        yield from (p for p in map(run.folder, (arm_prover(arm), arm_collection(arm), arm_reader(arm))) if p.exists())
    for place in (handoff_folder("*"), sufficiency_folder("*")):
        yield from (p for p in sorted(run.path.glob(place)) if not p.name.startswith(OF_ONE_ROUND))
    for file in sorted(run.path.glob(f"evaluation/attacks/*/{TRAINING}")):
        made = read_stored(file, AttackTraining, fix=f"delete {file.parent}")
        if made.start == CORRECTNESS or made.reader is not None:  # readers learn anew
            yield file.parent


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
    sync(target.parent)
    sync(path.parent)
