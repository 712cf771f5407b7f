"""What was done to keep the parts of the problems apart: the report of `split_problems`, for the run's manifest."""

from __future__ import annotations

from pydantic import Field

from legibility.stored import Sparse, Stored


class PartCounts(Sparse):
    """Problems of each part of the data."""

    prover: int = Field(description="Problems that provers train on.")
    verifier: int = Field(description="Problems whose solutions verifiers train on.")
    validation: int = Field(description="Problems for gates and thresholds.")
    test: int = Field(description="Problems that only reports use.")
    judge: int | None = Field(
        None,
        description="Problems that the held-out judge alone trains on; absent where it learns from the verifiers'.",
    )


class LoadedCounts(Stored):
    """Problems of each source before anything was dropped."""

    train: int = Field(description="Problems of the train source.")
    test: int | None = Field(description="Problems of the test source; null: some of the train source were set aside.")


class DuplicatePair(Stored):
    """Two problems with the same question, by id."""

    dropped: str = Field(description="The problem that was dropped.")
    kept: str = Field(description="The problem it repeats.")


class NearPair(DuplicatePair):
    """Two problems with nearly the same question, by id."""

    jaccard: float = Field(description="Overlap of their word 5-grams.")


class ExactDuplicates(Stored):
    """Problems dropped because another has the same question, case and spacing aside."""

    dropped: int = Field(description="Problems dropped.")
    examples: list[DuplicatePair] = Field(description="The first few.")


class NearDuplicates(Stored):
    """Problems dropped because another has nearly the same question."""

    dropped: int = Field(description="Problems dropped.")
    only_numbers_differ: int = Field(description="Those among them whose wording is the same but for its numbers.")
    examples: list[NearPair] = Field(description="The first few.")


class SameWording(Stored):
    """Problems of one part that differ from one of another part in their numbers only; they are kept."""

    problems: int = Field(description="How many there are.")
    of: int = Field(description="Problems of the first part.")
    examples: list[tuple[str, str]] = Field(description="Ids of the first few pairs.")


class ExactChecks(Sparse):
    """Exact duplicates by where they were found; the test source's only where there is one."""

    within_train: ExactDuplicates = Field(description="Inside the train source.")
    within_test: ExactDuplicates | None = Field(None, description="Inside the test source.")
    train_against_test: ExactDuplicates | None = Field(None, description="Train problems that the test source repeats.")


class NearChecks(Sparse):
    """Near duplicates by where they were found; the part named first lost them."""

    train_against_test: NearDuplicates = Field(description="Train problems near a test problem.")
    train_against_validation: NearDuplicates = Field(description="Train problems near a validation problem.")
    prover_against_verifier: NearDuplicates = Field(
        description="Between the two training parts; the one that is filled second lost them."
    )
    judge_against_others: NearDuplicates | None = Field(
        None, description="Between the judge's and the training parts; the one that is filled second lost them."
    )


class WordingChecks(Sparse):
    """Problems of the same wording with other numbers, by the two parts compared."""

    prover_in_test: SameWording = Field(description="Prover problems against test problems.")
    verifier_in_test: SameWording = Field(description="Verifier problems against test problems.")
    validation_in_test: SameWording = Field(description="Validation problems against test problems.")
    prover_in_verifier: SameWording = Field(description="Prover problems against verifier problems.")
    judge_in_test: SameWording | None = Field(None, description="The judge's problems against test problems.")


class PretrainingChecks(Stored):
    """Problems whose question stands in the pre-training text of the built-in models."""

    questions: int = Field(description="Distinct questions of that text.")
    left_out: int = Field(description="Generated problems left out, and replaced, because their question stands there.")
    same_question: PartCounts = Field(description="Problems of each part whose question stands there all the same.")
    same_wording: PartCounts = Field(
        description="Problems of each part that differ from a question there in their numbers only; they are kept."
    )


class Contamination(Sparse):
    """Duplicates between the parts: what was looked for, what was found and what was dropped."""

    near_duplicate_threshold: float = Field(description="Overlap from which two questions count as near duplicates.")
    loaded: LoadedCounts = Field(description="Problems read.")
    exact_duplicates: ExactChecks = Field(description="Same questions.")
    near_duplicates: NearChecks = Field(description="Nearly the same questions.")
    used: PartCounts = Field(description="Problems left and used, by part.")
    same_wording_different_numbers: WordingChecks = Field(description="Kept, and counted for information.")
    pretraining: PretrainingChecks | None = Field(
        None, description="Against what the built-in models read before the game. Absent in older files."
    )
