"""Checkpoints of a game's phases: what a phase is begun with, and what is saved of a prover phase beside its tensors.

Random numbers are keyed by what they are for (legibility.randomness), so there is no random state among it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from legibility.checkpoint_files import Origin
from legibility.checkpoints import Checkpoints
from legibility.game.context import Game
from legibility.game.phases import EVALUATION
from legibility.game.run_folder import RunFolder
from legibility.game.setting_changes import SERVER_CONTACT
from legibility.game.stop import TrackerSoFar
from legibility.stored import Stored

PACKAGES = ("legibility", "torch", "transformers", "tokenizers", "peft", "numpy")
"""A phase is not gone on with by other versions of these: it would be half one's and half the other's."""

FREE: dict[str, Any] = {
    "compute": {
        **dict.fromkeys(("checkpoint_every", "device", "rank_timeout", "threads", "workers"), True),
        "vllm": {"server", *SERVER_CONTACT},
    },
    "tracking": True,
    "game": {"rounds"},
}
"""Settings that decide nothing about a phase, or nothing but how its sums are rounded."""


class ProverSoFar(Stored):
    """state.json of a prover phase: what it knows beside its weights and its completions."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")
    scale: float = Field(description="What scores are divided by.")
    least_scale: float = Field(description="The least that may become.")
    tracker: TrackerSoFar | None = Field(description="What the stop rule has seen; null: there is none.")
    stopped: str | None = Field(description="Why the phase ended with this step; null: it goes on.")
    shown: dict[str, float] = Field(description="The last numbers on screen.")


def phase_checkpoints(game: Game, phase: str, work: Path, packages: tuple[str, ...] = (), **facts: int) -> Checkpoints:
    """The checkpoints of a phase that works in `work`.

    packages: others whose versions decide it, beside `PACKAGES`; facts: numbers it was given beside its settings.
    """
    settings = game.config.model_dump(mode="json", exclude=FREE)
    origin = Origin(
        phase=phase,
        settings={**dict(_flat(settings)), "compute.device": game.device},
        packages={name: _version(name) for name in (*PACKAGES, *packages)},
        inputs={**_earlier_phases(game.run), **{name: str(value) for name, value in facts.items()}},
    )
    return Checkpoints(work, origin, game.config.compute.checkpoint_every, game.progress.warn)


def _earlier_phases(run: RunFolder) -> dict[str, str]:
    """A hash of the files of every finished phase of the game."""
    found = {}
    for name in sorted(run.finished_phases()):
        if not name.startswith(f"{EVALUATION}/"):
            files = sorted(run.done_record(name).sha256.items())
            found[name] = hashlib.sha256(repr(files).encode()).hexdigest()
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted name."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # run from its source alone
        return None
