"""`train --quick`: a config played small, to see every part of a game work in about a minute.

Nothing but amounts is changed: one round, few problems, steps and samples. Rules, rewards, models and prompts stay, so
what breaks in the whole game breaks here. Its numbers measure nothing, and everything it writes says that it is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legibility.config import Config
from legibility.config_file import load_config

MOST: dict[str, int] = {
    "problems.prover": 1000,
    "problems.verifier": 300,
    "problems.validation": 60,
    "problems.test_size": 100,
    "problems.judge": 150,
    "prover.warm_start.steps": 20,
    "rivals.decoupled.warm_start_steps": 20,
    "verifier.updates": 60,
    "ppo.steps": 10,
    "game.rounds": 1,
    "game.base_samples": 4,
    "game.base_draws": 1,
    "game.collection_samples": 2,
    "game.collection_samples_sneaky": 2,
    "game.held_out_judge_updates": 30,
    "evaluation.samples": 2,
    "evaluation.bootstrap": 200,
}
"""The most of each that a quick game plays; less stays less."""
UNBOUNDED = frozenset({"problems.verifier", "problems.validation", "problems.test_size"})
"""Where null takes as many as there are."""


@dataclass(frozen=True)
class QuickGame:
    """A config played small. `made_smaller`: the settings that differ for it, as section.key=value."""

    settings: Config
    made_smaller: tuple[str, ...]


def quick_game(config: str | Path, overrides: Sequence[str] = ()) -> QuickGame:
    """A config with every amount of `MOST` at most that. `overrides` come last, so what is given by hand is played.

    Raises UserError as `load_config` does.
    """
    whole = load_config(config, overrides)
    smaller = [f"{name}={most}" for name, most in MOST.items() if _exceeds(whole, name, most)]
    settings = load_config(config, [*smaller, *overrides])
    kept = [line for line in smaller if _changed(whole, settings, line.partition("=")[0])]
    return QuickGame(settings, tuple(kept))


def _exceeds(whole: Config, name: str, most: int) -> bool:
    value = _value(whole, name)
    if value is None and name == "game.held_out_judge_updates":  # as many as the verifier's
        value = whole.verifier.updates
    return name in UNBOUNDED if value is None else bool(value > most)


def _changed(whole: Config, small: Config, name: str) -> bool:
    return bool(_value(whole, name) != _value(small, name))


def _value(settings: Config, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
