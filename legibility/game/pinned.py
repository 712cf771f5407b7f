"""A run's models stay those it began with: a hub id is read at the commit that the manifest recorded."""

from __future__ import annotations

from collections.abc import Sequence

from legibility.config import Config
from legibility.game.run_records import ModelFacts

PINNED = ("prover", "verifier")  # a held-out judge is loaded from the hub once, for its training


def pinned(config: Config, models: Sequence[ModelFacts] | None) -> Config:
    """The settings with the commits of the models in place of revisions; unchanged where none is from the hub."""
    commits = {x.role: x.commit for x in models or [] if x.role in PINNED and x.commit is not None}
    sections = {role: getattr(config, role).model_copy(update={"revision": commit}) for role, commit in commits.items()}
    return config.model_copy(update=sections)
