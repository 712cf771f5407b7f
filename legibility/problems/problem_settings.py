"""The `problems:` section of a config: which sources, and how many problems each part gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from legibility.problems.sources import GeneratedSource, ProblemSource
from legibility.settings import Settings

SHARED = ("prover", "verifier", "validation", "test_size")
"""Parts whose default numbers are those of the generator, and shares of any other source."""


class ProblemSettings(Settings):
    """Problem sources and the disjoint parts: prover half, verifier half, validation, test, held-out judge.

    The default numbers suit the generator, which never runs out; of any other source a part without a number is a share.
    """

    train: ProblemSource = Field(
        default_factory=GeneratedSource, description="Where the prover, verifier and validation problems come from."
    )
    test: ProblemSource | None = Field(
        default=None, description="Where the test problems come from; null sets some of the train source aside."
    )
    prover: PositiveInt | None = Field(
        default=4000,
        description="Problems to train the prover on; null takes what is left (half of it, if verifier is null too).",
    )
    verifier: PositiveInt | None = Field(
        default=2000,
        description="Problems to train the verifier on; null takes what is left (half of it, if prover is null too).",
    )
    validation: PositiveInt | None = Field(
        default=300,
        description="Problems for gates, stop rules and thresholds; null is a tenth of the train source, of a small one up to a fifth (at most 10).",
    )
    test_size: PositiveInt | None = Field(
        default=500,
        description="Problems for reports only; null is the whole test source, or as much of the train source as validation gets.",
    )
    judge: NonNegativeInt | None = Field(
        default=None,
        description="Problems to train the held-out judge on, which no verifier learns from; null is as many as the verifiers have, of what the other parts leave over (none if that is less than half as many), 0 none. Without any it learns from the verifiers' problems.",
    )
    near_duplicate_threshold: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Jaccard overlap of word 5-grams from which two questions count as near duplicates.",
    )
    seed: NonNegativeInt = Field(default=0, description="Seed of the random split.")

    @model_validator(mode="before")
    @classmethod
    def _shares_of_own_problems(cls, data: Any) -> Any:
        """A part that nobody gave a number is null where the problems are not drawn but given."""
        train = data.get("train") if isinstance(data, Mapping) else None
        kind = train.get("kind") if isinstance(train, Mapping) else getattr(train, "kind", "generated")
        return data if kind in ("generated", None) else {**dict.fromkeys(SHARED), **data}
