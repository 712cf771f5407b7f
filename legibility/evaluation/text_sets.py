"""Which text a figure speaks of: a condition's, both roles of a round, or the attackers of a verifier.

Inside the package these are records. The keys under which they stand in files ("round 2 helpful", "attack cgc 1",
"game 2") are made and read here and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from legibility.game.condition import (
    ARM_OF,
    CORRECTNESS_ONLY,
    GAME,
    LENGTH_PENALISED,
    ROUND_ARMS,
    START,
    START_SNEAKY,
    Condition,
    helpful,
    sneaky,
)
from legibility.prompts import HELPFUL

GOODHART = "goodhart"
"""The attacker's reward that knows no role: it writes helpful text, and right text is not what it is paid for."""
REWARDS = ("src", "cgc", GOODHART)
"""What attackers are paid, in the order of reports."""


def reward_label(reward: str) -> str:
    """An attacker's reward for people: "SRC", "CGC", "Goodhart"."""
    return reward.capitalize() if reward == GOODHART else reward.upper()


@dataclass(frozen=True)
class BothRoles:
    """A round's helpful-correct text against its sneaky-incorrect text (or, where said, all text of both roles)."""

    round: int


@dataclass(frozen=True)
class Attackers:
    """The text of all attackers that were trained with a reward against the verifier of a round."""

    reward: str
    verifier: int


TextSet: TypeAlias = Condition | BothRoles | Attackers


@dataclass(frozen=True)
class VerdictText:
    """The texts of a set that have one verdict ("correct" or "incorrect")."""

    texts: TextSet
    verdict: str


_CONDITIONS = {
    START: "base",
    START_SNEAKY: "init sneaky",
    CORRECTNESS_ONLY: "correctness",
    LENGTH_PENALISED: "correctness short",
}
_ARMS = {**_CONDITIONS, START: "start"}
_KEYED = set(ARM_OF.values()) - {condition.arm for condition in _ARMS}
_WITH_ROUNDS = {GAME, *ROUND_ARMS}


def text_key(texts: TextSet) -> str:
    """The key of a set of texts in matrix.json, soundness.json and subtlety.json. Raises KeyError for one without."""
    if isinstance(texts, BothRoles):
        return f"round {texts.round}"
    if isinstance(texts, Attackers):
        return f"attack {texts.reward} {texts.verifier}"
    return f"round {texts.round} {texts.role}" if texts.arm == GAME else _CONDITIONS[texts]


def parse_text(key: str) -> TextSet:
    """The set of texts that has a key. Raises ValueError where there is none."""
    for condition, name in _CONDITIONS.items():
        if name == key:
            return condition
    if found := re.fullmatch(r"round (\d+)(?: (helpful|sneaky))?", key):
        index, role = int(found[1]), found[2]
        return BothRoles(index) if role is None else helpful(index) if role == "helpful" else sneaky(index)
    if found := re.fullmatch(r"attack (\S+) (\d+)", key):
        return Attackers(found[1], int(found[2]))
    raise ValueError(f"no text is called {key!r}")


def verdict_key(text: VerdictText) -> str:
    """The key of a row of subtlety.json: "round 2 sneaky incorrect"."""
    return f"{text_key(text.texts)} {text.verdict}"


def parse_verdict_text(key: str) -> VerdictText:
    """The text of a row of subtlety.json. Raises ValueError for a key that names none."""
    name, _, verdict = key.rpartition(" ")
    return VerdictText(parse_text(name), verdict)


def arm_key(condition: Condition) -> str:
    """The key of an arm's honest text: "start", "game 2", "correctness", "tandem", "decoupled 1".

    Raises KeyError for a text without one.
    """
    if condition in _ARMS:
        return _ARMS[condition]
    if condition.arm not in _KEYED or condition.role != HELPFUL:
        raise KeyError(condition)
    return f"{condition.arm} {condition.round}" if condition.arm in _WITH_ROUNDS else condition.arm


def parse_arm(key: str) -> Condition:
    """The arm's honest text that has a key. Raises ValueError where there is none."""
    for condition, name in _ARMS.items():
        if name == key:
            return condition
    found = re.fullmatch(r"(\S+?)(?: (\d+))?", key)
    if found and found[1] in _KEYED and (found[1] in _WITH_ROUNDS) == (found[2] is not None):
        return Condition(found[1], int(found[2] or 0), HELPFUL)
    raise ValueError(f"no arm is called {key!r}")


# --- In stored models: a record inside, its key in the file ----------------------------------------


TextKey = Annotated[
    TextSet,
    BeforeValidator(lambda value: parse_text(value) if isinstance(value, str) else value),
    PlainSerializer(text_key, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["base", "round 2", "round 2 helpful", "attack cgc 1"]}),
]
"""A set of texts: "base", "round 2", "round 2 helpful", "correctness", "correctness short", "attack cgc 1"."""

VerdictKey = Annotated[
    VerdictText,
    BeforeValidator(lambda value: parse_verdict_text(value) if isinstance(value, str) else value),
    PlainSerializer(verdict_key, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["round 2 sneaky incorrect"]}),
]
"""The texts of a set that have one verdict: "round 2 sneaky incorrect"."""

ArmKey = Annotated[
    Condition,
    BeforeValidator(lambda value: parse_arm(value) if isinstance(value, str) else value),
    PlainSerializer(arm_key, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["start", "game 2", "correctness", "correctness short"]}),
]
"""An arm by its honest text: "start", "game 2", "correctness", "correctness short", "tandem", "decoupled 1"."""
