"""results.json: everything the analysis of a study found, as records.

An estimate is an `Interval` (value, low, high) at the confidence level of the study; null is "not defined".
"""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field

from legibility.game.condition import Condition, ConditionKey, JudgeKey
from legibility.judging.study_schema import Assisted
from legibility.stored import Interval, Number, Sparse, Stored

ExclusionRule = Literal["chance_alpha", "max_failed_checks", "min_median_seconds"]
"""The rules of study.yaml by which a rater is left out, by the setting that draws the line."""


class JudgmentCounts(Stored):
    """How many judgments there were and what became of them."""

    table: int = Field(description="Rows of judgments.csv.")
    dropped_late: int = Field(description="Left out for coming after the time limit, if study.yaml says so.")
    dropped_repeats: int = Field(description="Left out because the rater had judged the problem before.")
    attention: int = Field(description="Attention checks of the raters who stay.")
    analysed: int = Field(description="Study judgments of the raters who stay: those behind all numbers.")


class RaterResult(Stored):
    """One rater, and whether the rules of study.yaml keep them."""

    rater: str = Field(description="Name in judgments.csv: tool:who.")
    judgments: int = Field(description="Study judgments.")
    accuracy: float | None = Field(description="Share of them that are right.")
    p: float | None = Field(description="One-sided exact binomial test of accuracy > 1/2.")
    failed_checks: int = Field(description="Wrong attention checks.")
    checks: int = Field(description="Attention checks judged.")
    median_seconds: float | None = Field(description="Of study judgments; null where no time is known.")
    excluded: str = Field(description='Why the rater is left out; "" for those who stay.')


class ConditionResult(Stored):
    """How well raters judge what one condition wrote."""

    arm: str = Field(description="Arm of the writer.")
    round: int = Field(description="Round of the writer; -1 before the first.")
    role: str = Field(description="Role of the writer.")
    label: str = Field(description="The condition for people.")
    judgments: int = Field(description="Judgments behind the numbers.")
    raters: int = Field(description="Raters who made them.")
    problems: int = Field(description="Different problems judged.")
    items: int = Field(description="Different solutions judged.")
    accuracy: Interval = Field(
        description="Mean of the accuracy on right and on wrong solutions (sneaky: wrong ones only)."
    )
    false_accept: Interval = Field(description="Share of judgments of wrong solutions that say True.")
    false_reject: Interval = Field(description="Share of judgments of right solutions that say False.")
    mean_seconds: Interval = Field(description="Mean time to the verdict.")
    median_seconds: Number = Field(description="Median time to the verdict.")
    mean_seconds_when_right: Number = Field(description="Over judgments that are right (the paper's time).")
    timed_out: Number = Field(description="Share of judgments after the time limit.")

    @property
    def condition(self) -> Condition:
        """Who wrote the solutions."""
        return Condition(self.arm, self.round, self.role)


class ConditionDifference(Stored):
    """Accuracy on the second condition minus the first."""

    first: ConditionKey = Field(description="The first condition.")
    second: ConditionKey = Field(description="The second condition.")
    difference: Interval = Field(description="Accuracy on the second minus accuracy on the first.")


class MatchedAccuracy(Stored):
    """Accuracy on a condition if its solutions had the common lengths."""

    condition: ConditionKey = Field(description="Who wrote the solutions.")
    accuracy: Interval = Field(description="Standardised to the common lengths.")


class LengthMatched(Stored):
    """The comparison at equal length."""

    coverage: float = Field(description="Share of judgments in the length classes that all conditions share.")
    conditions: list[MatchedAccuracy] = Field(description="Empty where the conditions share none.")


class FixedEffect(Stored):
    """A term of the mixed model."""

    term: str = Field(description="Name in the formula.")
    log_odds: float = Field(description="Log-odds of judging right.")
    sd: float = Field(description="Standard deviation of the variational posterior, known to be too small.")


class MixedModel(Stored):
    """Logistic model of a judgment being right, with random effects of rater and problem. Descriptive."""

    formula: str = Field(description="In the notation of lme4.")
    reference: str = Field(description="The condition others are compared with.")
    fixed: list[FixedEffect] = Field(description="Condition, correct solutions, log length.")
    random_sd: dict[str, float] = Field(description="rater, problem -> standard deviation of the effects.")


class JudgeAgreement(Stored):
    """What the scores of one judge tell, on the judged items: AUROC with intervals over problems."""

    auroc_truth: Interval = Field(description="Right from wrong solutions.")
    auroc_people: Interval | None = Field(
        None, description="Solutions most people accept from those most reject; null for people themselves."
    )
    auroc_people_incorrect: Interval | None = Field(None, description="The same among wrong solutions.")


class ConfidenceResult(Stored):
    """Accuracy of the judgments with one stated confidence."""

    confidence: int = Field(ge=1, le=5, description="As stated: 1 guessing, 5 certain.")
    judgments: int = Field(description="Judgments with this confidence.")
    accuracy: float = Field(description="Share of them that are right.")


class FirstWrongStep(Stored):
    """How often raters who marked the first wrong line of a wrong solution marked the true one."""

    marked: int = Field(description="Judgments that mark a line where the true one is known.")
    share_right: Number = Field(description="Share of them that mark the true one.")


class AssistedComparison(Stored):
    """Judgments made with a verifier's doubts in sight beside those made without. Differences: assisted less alone."""

    condition: ConditionKey | None = Field(description="Who wrote the solutions; null for all of them together.")
    judgments_alone: int = Field(description="Judgments without doubts shown.")
    judgments_assisted: int = Field(description="Judgments with doubts shown.")
    accuracy_alone: Interval = Field(description="As `accuracy` of a condition.")
    accuracy_assisted: Interval = Field(description="The same with doubts shown.")
    accuracy_difference: Interval = Field(description="Above 0: the doubts help.")
    false_accept_difference: Interval = Field(description="Below 0: fewer wrong solutions are accepted.")
    false_reject_difference: Interval = Field(description="Below 0: fewer right solutions are rejected.")
    seconds_difference: Interval = Field(description="Of the mean time to the verdict.")


class AssistedResults(Stored):
    """Whether a verifier's doubts help people."""

    adviser: JudgeKey = Field(description="The verifier.")
    design: Assisted = Field(description="What was assigned: half of every rater's items, or half of the raters.")
    overall: AssistedComparison = Field(description="Over all conditions; right and wrong solutions weigh the same.")
    conditions: list[AssistedComparison] = Field(description="In the order of the study's conditions.")


class AllRaters(Sparse):
    """The main figures over every rater, as if nobody were excluded."""

    raters: int = Field(description="Raters behind the numbers.")
    judgments: int = Field(description="Study judgments of theirs.")
    conditions: list[ConditionResult] = Field(description="As `conditions` of the study.")
    differences: list[ConditionDifference] = Field(description="As `differences` of the study.")
    assisted: AssistedResults | None = Field(None, description="As `assisted` of the study.")


class StudyResults(Sparse):
    """results.json: everything the analysis of a study found."""

    schema_version: Literal[1] = Field(1, alias="schema", description="Version of the layout.")
    simulated: bool = Field(description="Whether made-up raters judged.")
    study_id: str = Field(description="Study the judgments belong to.")
    run: str = Field(description="Name of the run or problem file the solutions came from.")
    confidence_level: float = Field(
        validation_alias=AliasChoices("confidence_level", "confidence"),  # its name in earlier files
        description="Confidence level of every interval.",
    )
    judgments: JudgmentCounts
    raters: list[RaterResult] = Field(description="Every rater, excluded or not.")
    excluded_by: dict[ExclusionRule, int] | None = Field(
        None, description="Rule of study.yaml -> raters whom it leaves out; some by several. Absent in older files."
    )
    raters_kept: int = Field(description="Raters behind the numbers.")
    conditions: list[ConditionResult] = Field(description="Conditions with judgments, in order.")
    differences: list[ConditionDifference] = Field(
        description="Every two conditions whose writers were asked to be right."
    )
    length_matched: LengthMatched
    krippendorff_alpha: float | None = Field(description="Agreement of raters; null where it is not defined.")
    mixed_model: MixedModel | None = Field(description="Null for too few judgments to fit one.")
    verifiers: dict[str, JudgeAgreement] = Field(
        description='Judge ("verifier 0", "held_out_judge") -> agreement; "people": the share of raters who accept, as a score.'
    )
    by_confidence: list[ConfidenceResult] = Field(
        validation_alias=AliasChoices("by_confidence", "confidence_levels"),  # its name in earlier files
        description="Accuracy by stated confidence.",
    )
    first_wrong_step: FirstWrongStep
    without_exclusion: AllRaters | None = Field(
        None, description="The same over all raters; exclusion can push accuracy up. Absent in older files."
    )

    assisted: AssistedResults | None = Field(
        None,
        description="Of an assisted study. All other numbers, and those of the run, rest on judgments without doubts shown.",
    )

    def with_everyone(self, condition: Condition) -> ConditionResult | None:
        """What all raters, excluded or not, make of a condition; None in older files."""
        found = self.without_exclusion.conditions if self.without_exclusion else []
        return next((c for c in found if c.condition == condition), None)
