"""Several runs of one configuration (seeds side by side) merged: mean, interval over seeds, paired tests, claims.

A seed is one unit: intervals are Student's t over seeds, and arms are compared by a paired t-test over
the seeds that have both. Attacks of a run count as one number each (legibility.evaluation.attacks_over_seeds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from legibility.evaluation.arm_headlines import arm_headlines
from legibility.evaluation.attacks_over_seeds import (
    RateOverSeeds,
    SurvivalOverSeeds,
    rates_over_seeds,
    survival_over_seeds,
)
from legibility.evaluation.claims import Claim, claims
from legibility.evaluation.headline import STEPS, STEPS_TO_EXPLOIT, Contrast, Headline, contrasts, headline
from legibility.evaluation.over_seeds import Difference, OverSeeds, over_seeds, paired_test
from legibility.evaluation.summary_schema import Summary
from legibility.stored import Stored


class ComparedFigure(OverSeeds):
    """A headline number over seeds. `name`, `round` and `verifier` tell it from all others."""

    name: str = Field(description="What is measured, for example helpful_accuracy.")
    round: int | None = Field(description="Round it is about; null: the run as a whole.")
    verifier: int | None = Field(
        description="Round of the verifier that reads the text; null: none, or the round's own."
    )
    label: str = Field(description="The name for people, without the round.")

    @property
    def title(self) -> str:
        """The label with its round."""
        return self.label if self.round is None else f"round {self.round}: {self.label}"


class PairedTest(Difference):
    """Two headline numbers tested against each other."""

    name: str = Field(description="What is compared.")
    round: int | None = Field(description="Round it is about; null: the run as a whole.")
    label: str = Field(description="The name for people: first against second.")


class Comparison(Stored):
    """compare.json: runs of one configuration side by side. Version 1 keyed figures and tests by their labels."""

    version: Literal[2] = Field(2, alias="schema", description="Version of this file's layout.")
    runs: list[str] = Field(description="Names of the run folders.")
    seeds: list[int] = Field(description="Their seeds, in the same order.")
    confidence_level: float = Field(description="Level of the intervals.")
    figures: list[ComparedFigure] = Field(description="Every headline number.")
    paired_tests: list[PairedTest] = Field(description="Differences between arms and between rounds.")
    survival: list[SurvivalOverSeeds] = Field(description="Steps to exploit over the attacks of all runs.")
    robustness: list[RateOverSeeds] = Field(
        default_factory=list, description="False-positive rates under fresh attackers. Absent in older files."
    )
    claims: list[Claim] = Field(
        default_factory=list, description="What is claimed, and what these runs say of it. Absent in older files."
    )
    settings_differ: list[str] = Field(
        default_factory=list, description="Settings other than the seed in which the runs differ from the first."
    )
    quick: list[str] = Field(
        default_factory=list,
        description="The runs among them that train --quick made too small to measure anything. Absent in older files.",
    )

    @property
    def rounds(self) -> list[int]:
        """Rounds that all runs have."""
        return sorted({f.round for f in self.figures if f.round is not None})

    def figure(self, name: str, index: int | None = None, verifier: int | None = None) -> ComparedFigure:
        """A figure of a round (None: of the run). Raises KeyError where there is none."""
        for found in self.figures:
            if (found.name, found.round, found.verifier) == (name, index, verifier):
                return found
        raise KeyError(f"no figure {name!r} of round {index}, verifier {verifier}")


def merge(
    summaries: Sequence[Summary], confidence_level: float = 0.95, settings_differ: Sequence[str] = ()
) -> Comparison:
    """Every headline number by seed with its mean and interval, paired tests, survival, claims."""
    return Comparison(
        runs=[s.run for s in summaries],
        seeds=[s.seed for s in summaries],
        confidence_level=confidence_level,
        figures=[_figure(h, summaries, confidence_level) for h in (*headline(summaries), *arm_headlines(summaries))],
        paired_tests=[_test(c, summaries) for c in contrasts(summaries)],
        survival=survival_over_seeds(summaries, confidence_level),
        robustness=rates_over_seeds(summaries, confidence_level),
        claims=claims(summaries, confidence_level),
        settings_differ=list(settings_differ),
        quick=[s.run for s in summaries if s.quick],
    )


def _figure(number: Headline, summaries: Sequence[Summary], confidence_level: float) -> ComparedFigure:
    found = over_seeds([number.read(s) for s in summaries], confidence_level, rate=number.rate)
    return ComparedFigure(
        name=number.name, round=number.round, verifier=number.verifier, label=number.label, **dict(found)
    )


def _test(contrast: Contrast, summaries: Sequence[Summary]) -> PairedTest:
    found = paired_test([contrast.first(s) for s in summaries], [contrast.second(s) for s in summaries])
    return PairedTest(name=contrast.name, round=contrast.round, label=contrast.label, **dict(found))


def steps_by_seed(comparison: Comparison, index: int) -> str:
    """Steps in the game until round `index`'s verifier was fooled, by seed; "> n" where it was not within its n steps."""
    fooled, steps = (comparison.figure(name, index).values for name in (STEPS_TO_EXPLOIT, STEPS))
    return ", ".join(f"{f:.0f}" if f is not None else f"> {n:.0f}" for f, n in zip(fooled, steps, strict=True))
