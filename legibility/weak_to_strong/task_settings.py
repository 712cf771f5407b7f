"""Settings of what is classified: the kinds of task, and how many items each part of one holds at most."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from legibility.problems.problem_settings import ProblemSettings
from legibility.settings import Settings

LabelMeaning = Literal["text", "column", "letter", "index", "number"]


class PartSizes(Settings):
    """Items per part at most; halves of each are right (or the first of a pair better)."""

    weak: int = Field(500, ge=4, description="Half A: ground truth for the weak models.")
    student: int = Field(500, ge=4, description="Half B: the teachers label it, the students learn from it.")
    trusted: int = Field(80, ge=4, description="Small trusted set with ground truth (auto-aligner, calibration).")
    validation: int = Field(200, ge=4, description="Ensemble size and best checkpoint are chosen here.")
    test: int = Field(400, ge=4, description="Reported, never used for a choice.")


class TextTask(Settings):
    """What the two tasks on solutions share: whose text is classified, and who writes it."""

    run: str | None = Field(
        None,
        description="Run folder whose stored completions are classified; null has `writer` write to generated problems.",
    )
    writer: Literal["prover", "generator"] = Field(
        "prover",
        description="Without a run: the built-in prover in both roles, or the generator's worked and flawed solutions.",
    )
    problems: ProblemSettings = Field(
        default_factory=lambda: ProblemSettings(prover=1, verifier=600, validation=120, test_size=200),
        description="Without a run: the problems; verifier, validation and test parts are used.",
    )
    samples: int = Field(4, ge=1, description="Without a run: completions per problem and role.")
    sources: list[Literal["base", "helpful", "sneaky"]] = Field(
        ["base", "helpful", "sneaky"], min_length=1, description="Whose completions are classified."
    )
    rounds: list[int] | None = Field(
        None, description="Rounds of the run that helpful and sneaky text comes from (null: all)."
    )
    balance: Literal["within_source", "label"] = Field(
        "within_source",
        description="Half right inside every source and round, so that authorship says nothing, or only overall.",
    )


class SolutionsTask(TextTask):
    """Is this solution right?"""

    kind: Literal["solutions"] = "solutions"


class PreferencesTask(TextTask):
    """Which of two solutions of a problem is right? (reward modelling: the logit is a difference of scores)"""

    kind: Literal["preferences"] = "preferences"


class ClassificationTask(Settings):
    """Any binary or multiple-choice data set, by mapping its columns.

    Multiple choice becomes balanced binary as in B: each question once with its answer and once with
    one wrong choice, "is this the answer?".
    """

    kind: Literal["classification"] = "classification"
    path: str | None = Field(None, description="JSONL, JSON, CSV or Parquet file.")
    name: str | None = Field(None, description="Hub id, instead of a path.")
    subset: str | None = Field(None, description="Configuration of the hub data set.")
    split: str = Field("train", description="Split of the hub data set.")
    student_path: str | None = Field(None, description="File of half B (null: a random half of `path`).")
    test_path: str | None = Field(None, description="File of validation and test rows (null: some of `path`).")
    text: list[str] = Field(["question"], min_length=1, description="Columns of the text, joined by line breaks.")
    label: str = Field("label", description="Column of the label: true/false, 1/0, yes/no; or of the right choice.")
    choices: list[str] | None = Field(
        None, description="Columns of the choices, or one column holding a list of them (null: a binary label)."
    )
    label_is: LabelMeaning | None = Field(
        None,
        description="What the label of a multiple-choice row is: the right choice's text, column, letter (A, B, …), index "
        "from 0 or number from 1. null finds out from all rows: an integer is an index or a number, whichever fits "
        "every row, and a label that can be read in two ways is an error.",
    )
    candidate: str | None = Field(
        None, description="Binary labels: column of the answer the label is about (null: none)."
    )

    @model_validator(mode="after")
    def _one_place(self) -> ClassificationTask:
        if (self.path is None) == (self.name is None):
            raise ValueError("give a path or the name of a hub data set, one of the two")
        return self


class TwinsTask(Settings):
    """Reference solutions of a problem source and corrupted twins: is this solution right?"""

    kind: Literal["twins"] = "twins"
    problems: ProblemSettings = Field(
        description="Problems with worked solutions; verifier, validation and test parts are used."
    )
    pairs: bool = Field(
        False,
        description="One item per problem, which of the two is right (the logit is a difference of scores), instead of two.",
    )


Task = Annotated[SolutionsTask | PreferencesTask | ClassificationTask | TwinsTask, Field(discriminator="kind")]
