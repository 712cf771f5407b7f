"""Helpers of the evaluation's tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from legibility.evaluation.intervals import Resamples
from legibility.game.run_folder import RunFolder

SMALL = ("evaluation.best_of_n_problems=6", "evaluation.best_of_n_samples=4", "evaluation.probe_every=2")
"""Settings that make an evaluation of a tiny run quick."""

FAST = ("attack.max_steps=2", "attack.seeds=2", "attack.problems_per_step=3")
"""Settings that make attacks short."""


def section(run: RunFolder, name: str) -> Any:
    """A section as it stands in its file."""
    return json.loads((run.path / "evaluation" / f"{name}.json").read_text())


def resamples(problems: Sequence[str], count: int = 200, confidence_level: float = 0.95, seed: int = 0) -> Resamples:
    """Resamples of some problems."""
    rng = np.random.default_rng(seed)
    return Resamples(problems, resamples=count, confidence_level=confidence_level, rng=rng)
