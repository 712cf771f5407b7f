"""human.json in a run folder: how well people tell right from wrong in what the run wrote.

`legibility analyze` writes it; the tax section and the report read it. It stands here, below all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field

from legibility.game.condition import Condition
from legibility.stored import Interval, Stored, read_stored

HUMAN = "human.json"


class HumanAccuracy(Stored):
    """Judgments of raters on what one condition wrote; intervals at the record's confidence level."""

    arm: str = Field(description="Arm of the writer.")
    round: int = Field(description="Round of the writer; -1 before the first.")
    role: str = Field(description="Role of the writer.")
    judgments: int = Field(description="Judgments behind the numbers.")
    raters: int = Field(description="Raters who made them.")
    accuracy: Interval = Field(
        description="Mean of the accuracy on right and on wrong solutions (sneaky: wrong ones only)."
    )
    false_accept: Interval = Field(description="Share of judgments of wrong solutions that say True.")
    false_reject: Interval = Field(description="Share of judgments of right solutions that say False.")

    @property
    def condition(self) -> Condition:
        """Who wrote the solutions."""
        return Condition(self.arm, self.round, self.role)


class HumanRecord(Stored):
    """human.json: a study's results by condition."""

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of the layout.")
    simulated: bool = Field(description="Whether made-up raters judged; then the record says nothing about people.")
    study_id: str = Field(description="Study the judgments come from.")
    confidence_level: float = Field(
        validation_alias=AliasChoices("confidence_level", "confidence"),  # its name in earlier files
        description="Confidence level of every interval.",
    )
    conditions: list[HumanAccuracy] = Field(description="Conditions with judgments, in order.")

    def accuracy(self, condition: Condition) -> Interval | None:
        """Accuracy of the raters on a condition's solutions, or None where the study has none of them."""
        return next((c.accuracy for c in self.conditions if c.condition == condition), None)


def read_human_record(run: Path) -> HumanRecord | None:
    """The record in the run folder `run`, or None where nobody judged. Raises UserError where it cannot be read."""
    path = run / HUMAN
    if not path.is_file():
        return None
    return read_stored(path, HumanRecord, fix="it is not as legibility analyze writes it: restore it or move it away")


def accuracy_of_people(run: Path) -> dict[Condition, Interval]:
    """How well people tell right from wrong in each arm's honest text, by condition in order; of studies of that run.

    Empty where nobody judged, or only simulated raters did. Raises UserError as `read_human_record` does.
    """
    found = read_human_record(run)
    if found is None or found.simulated:
        return {}
    honest = [entry for entry in found.conditions if not entry.condition.sneaky]
    return {entry.condition: entry.accuracy for entry in sorted(honest, key=lambda entry: entry.condition)}
