"""Who writes and who judges: the records by which text and scores are told apart.

A `Condition` is the writer of a text: an arm, a round and a role. A `Judge` is a model that scores text: a
round's verifier or the held-out judge. Both have one spelling for files (`str`), one for people (`label`),
one parser and one order, so that no other module builds such names or takes them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from legibility.config import Config, VerifierSettings
from legibility.errors import UserError
from legibility.game.phases import GAME as GAME
from legibility.game.phases import JUDGE, arm_reader, round_verifier
from legibility.game.run_folder import RunFolder
from legibility.prompts import HELPFUL, SNEAKY

INIT, CORRECTNESS = "init", "correctness"
CORRECTNESS_HALFWAY, CORRECTNESS_SHORT = "correctness-halfway", "correctness-short"
"""The correctness-only prover at half of its steps, and the one that is paid less for long text."""
DECOUPLED, SNEAKY_STEP = "decoupled", "sneaky_step"
"""Arms with rounds of their own: a translator beside a frozen solver, and a sneaky role that changes one step."""
TANDEM, CONSULTANCY, RFT = "tandem", "consultancy", "rft"
"""Arms of one prover phase: a weak model takes over at random; no rounds; best of n, then supervised."""
ROUND_ARMS = (DECOUPLED, SNEAKY_STEP)
ARM_OF = {
    "game": GAME,
    "correctness": CORRECTNESS,
    "length_penalised": CORRECTNESS_SHORT,
    "decoupled": DECOUPLED,
    "tandem": TANDEM,
    "consultancy": CONSULTANCY,
    "rft": RFT,
    "sneaky_step": SNEAKY_STEP,
}
"""An arm by its name in `game.arms`."""
REFERENCE = "reference"
"""Arm and role of a data set's own solutions, which no prover wrote."""
BASE_ROLE = "base"
"""Role of the base policy under the helpful prompt."""

ARMS = {
    INIT: "start",
    CORRECTNESS: "correctness-only",
    CORRECTNESS_HALFWAY: "correctness-only, halfway",
    CORRECTNESS_SHORT: "correctness-only, length-penalised",
    DECOUPLED: "decoupled",
    SNEAKY_STEP: "one wrong step",
    TANDEM: "tandem",
    CONSULTANCY: "consultancy",
    RFT: "rejection sampling",
    REFERENCE: "reference and twin",
}
"""Arms by the name that people read; a round of the game is called by its number."""

_ARM_ORDER = (
    *(INIT, GAME, CORRECTNESS, CORRECTNESS_HALFWAY, CORRECTNESS_SHORT),
    *(DECOUPLED, TANDEM, RFT, CONSULTANCY, SNEAKY_STEP),
)


@total_ordering
@dataclass(frozen=True)
class Condition:
    """Who wrote a text: `arm` (init, game, correctness, reference, …), `round` (init: -1) and `role`.

    Conditions sort as reports show them: the start, the game by round with helpful before sneaky, the
    correctness-only arm and its variants, then anything else by name.
    """

    arm: str
    round: int
    role: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition written as `ARM:ROUND:ROLE`. Raises UserError for anything else."""
        parts = text.strip().split(":")
        if len(parts) != 3 or not parts[1].lstrip("-").isdigit():
            raise UserError(f"condition {text!r}: write ARM:ROUND:ROLE, for example game:0:helpful")
        return cls(parts[0], int(parts[1]), parts[2])

    def __str__(self) -> str:
        return f"{self.arm}:{self.round}:{self.role}"

    def __lt__(self, other: Condition) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[int, str, int, str]:
        """The key conditions are sorted by."""
        place = _ARM_ORDER.index(self.arm) if self.arm in _ARM_ORDER else len(_ARM_ORDER)
        return place, self.arm, self.round, self.role

    @property
    def label(self) -> str:
        """For people: "start", "round 2 helpful", "correctness-only"."""
        name = ARMS.get(self.arm, f"round {self.round}")
        if self.arm in ROUND_ARMS:
            name = f"{name}, round {self.round}"
        plain = self.arm not in (GAME, *ROUND_ARMS) and self.role in (BASE_ROLE, HELPFUL, REFERENCE)
        return name if plain else f"{name} {self.role}"

    @property
    def folder(self) -> str:
        """What a folder of its honest text is called: "init", "game_02", "correctness_00"."""
        return f"{self.arm}_{self.round:02d}" if self.round >= 0 else self.arm

    @property
    def sneaky(self) -> bool:
        """Whether the writer was asked to be wrong."""
        return self.role == SNEAKY


START = Condition(INIT, -1, BASE_ROLE)
START_SNEAKY = Condition(INIT, -1, SNEAKY)
CORRECTNESS_ONLY = Condition(CORRECTNESS, 0, HELPFUL)
HALFWAY = Condition(CORRECTNESS_HALFWAY, 0, HELPFUL)
LENGTH_PENALISED = Condition(CORRECTNESS_SHORT, 0, HELPFUL)


def helpful(round_index: int) -> Condition:
    """The helpful role of a round of the game."""
    return Condition(GAME, round_index, HELPFUL)


def sneaky(round_index: int) -> Condition:
    """The sneaky role of a round of the game."""
    return Condition(GAME, round_index, SNEAKY)


def conditions_of(frame: pd.DataFrame) -> list[Condition]:
    """The conditions whose text a frame holds (columns arm, round, role), in order."""
    found = frame[["arm", "round", "role"]].drop_duplicates().itertuples(index=False)
    return sorted(Condition(str(arm), int(index), str(role)) for arm, index, role in found)


@total_ordering
@dataclass(frozen=True)
class Judge:
    """A model that scores text: the verifier of a `round`, an `arm`'s reader, or the held-out judge, which has neither.

    Verifiers sort by round, then come readers by arm, the held-out judge last.
    """

    kind: Literal["verifier", "reader", "held_out_judge"]
    round: int | None = None
    arm: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a verifier without a round, a reader without an arm, or another judge with one."""
        if (self.kind == "verifier") != (self.round is not None) or (self.kind == "reader") != (self.arm is not None):
            raise ValueError(
                "a verifier has a round, a reader has an arm and the held-out judge has none; "
                f"got {self.kind}, {self.round}, {self.arm}"
            )

    @classmethod
    def parse(cls, text: str) -> Judge:
        """The judge called `text` in a file: "verifier 3", "reader tandem" or "held_out_judge".

        Earlier versions wrote "judge" or "held-out judge" for the latter; they are understood.
        Raises UserError for anything else.
        """
        if text in ("held_out_judge", "held-out judge", "judge"):
            return cls("held_out_judge")
        kind, _, name = text.partition(" ")
        if kind == "reader" and name in ARM_OF.values():
            return cls("reader", arm=name)
        if kind != "verifier" or not name.isdigit():
            raise UserError(f'judge {text!r}: expected "verifier ROUND", "reader ARM" or "held_out_judge"')
        return cls("verifier", int(name))

    def __str__(self) -> str:
        if self.arm is not None:
            return f"reader {self.arm}"
        return "held_out_judge" if self.round is None else f"verifier {self.round}"

    def __lt__(self, other: Judge) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[int, int, str]:
        """The key judges are sorted by."""
        return ("verifier", "reader", "held_out_judge").index(self.kind), self.round or 0, self.arm or ""

    @property
    def label(self) -> str:
        """For people: "verifier 3", "reader of tandem", "held-out judge"."""
        if self.arm is not None:
            return f"reader of {ARMS.get(self.arm, 'the game')}"
        return "held-out judge" if self.round is None else str(self)

    @property
    def phase(self) -> str:
        """The phase of the run folder that trains this judge."""
        if self.arm is not None:
            return arm_reader(self.arm)
        return JUDGE if self.round is None else round_verifier(self.round)

    def settings(self, config: Config) -> VerifierSettings:
        """What a run's settings say of this judge; `game.held_out_judge_…` stands over `verifier` for the held-out one."""
        if self.kind != "held_out_judge":
            return config.verifier
        game = config.game
        changes: dict[str, Any] = {
            "model": game.held_out_judge_model,
            "template": game.held_out_judge_template,
            "score": game.held_out_judge_score,
            "updates": game.held_out_judge_updates,
            "learning_rate": game.held_out_judge_learning_rate,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        if "model" in changes:
            changes["layers"] = changes["revision"] = None  # of another model
        if changes.get("score") == "last_token":
            changes["lm_weight"] = 0.0  # a classifier predicts no tokens
        return config.verifier.model_copy(update=changes)


HELD_OUT_JUDGE = Judge("held_out_judge")


def verifier(round_index: int) -> Judge:
    """The verifier of a round."""
    return Judge("verifier", round_index)


def reader(arm: str) -> Judge:
    """The reader of an arm."""
    return Judge("reader", arm=arm)


def judges_of(run: RunFolder, rounds: Iterable[int] | None = None) -> list[Judge]:
    """The judges of a run's game: the verifier of every finished round, and the held-out judge where there is one.

    rounds: these rounds instead of the finished ones.
    """
    verifiers = [verifier(index) for index in (run.rounds() if rounds is None else rounds)]
    return verifiers + ([HELD_OUT_JUDGE] if run.is_done(HELD_OUT_JUDGE.phase) else [])


def readers_of(run: RunFolder) -> list[Judge]:
    """The readers that a run has trained, one an arm at most, in order."""
    return sorted(judge for judge in map(reader, ARM_OF.values()) if run.is_done(judge.phase))


# --- In stored models: a record inside, its text in the file ----------------------------------------


def _condition(value: Any) -> Any:
    try:
        return Condition.parse(value) if isinstance(value, str) else value
    except UserError as error:
        raise ValueError(str(error)) from None


def _judge(value: Any) -> Any:
    try:
        return Judge.parse(value) if isinstance(value, str) else value
    except UserError as error:
        raise ValueError(str(error)) from None


ConditionKey = Annotated[
    Condition,
    BeforeValidator(_condition),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["init:-1:base", "game:0:helpful", "correctness:0:helpful"]}),
]
"""A condition: "game:0:helpful"."""

JudgeKey = Annotated[
    Judge,
    BeforeValidator(_judge),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(verifier [0-9]+|reader [a-z_-]+|held_out_judge)$"}),
]
"""A judge: "verifier 3", "reader tandem" or "held_out_judge"."""
