"""What a run's summary writes, and the reading of what earlier versions wrote.

`Summary` is summary.json; the sections of an evaluation stand in it too (legibility.evaluation.schema). Units:
accuracies, shares and AUROC are fractions of 1, lengths are tokens, scores are raw values of V. A number that is
not defined is null.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from legibility.errors import UserError
from legibility.evaluation.schema import Bounds, Evaluation
from legibility.game.condition import ConditionKey
from legibility.game.run_records import Discrimination, SameStyle
from legibility.pasted import own_command
from legibility.stored import Interval, Number, Sparse, Stored, read_stored

SUMMARY = "summary.json"
SCHEMA: Final = 2
"""Version of the summary and of the sections in it. 1 called the held-out judge "judge" in the matrix, the
soundness and the hacking rows."""


class SummaryDecoding(Stored):
    """How a run's test text was sampled."""

    temperature: float = Field(description="Sampling temperature.")
    samples: int = Field(description="Completions per problem and role.")
    test_problems: int = Field(description="Test problems.")


class PolicySummary(Stored):
    """Test text of one policy under the helpful prompt."""

    accuracy: Number = Field(description="Share of correct answers; invalid ones count as wrong.")
    interval: Bounds = Field(description="Bounds of the accuracy.")
    mean_length: Number = Field(description="Mean completion length, tokens.")
    invalid: Number = Field(description="Share without a readable answer.")


class StartSummary(Sparse, PolicySummary):
    """The base policy."""

    checkability: dict[str, Number] = Field(
        description="Same-problem pairwise accuracy by judge: `last_verifier`, `held_out_judge`."
    )
    checkability_interval: dict[str, Bounds] | None = Field(
        None, description="Bounds of the same. Absent in older files."
    )


class CorrectnessSummary(Sparse, PolicySummary):
    """The correctness-only arm."""

    steps: int = Field(description="PPO steps done.")
    checkability: dict[str, Number] = Field(description="As of the base policy.")
    checkability_interval: dict[str, Bounds] | None = Field(None, description="Likewise.")
    accuracy_at_half_steps: Number = Field(
        None, description="Accuracy at half the steps, where it has seen as many helpful samples as the game."
    )


class SameStyleFigure(SameStyle):
    """The same with an interval."""

    low: Number = Field(description="Lower bound.")
    high: Number = Field(description="Upper bound.")


class VerifierSummary(Sparse):
    """A round's verifier. `same_style` is the headline; the `auroc_…` show beside it what looks and roles earn."""

    parameters: int = Field(description="Parameters.")
    texts: int = Field(description="Solutions it was trained on.")
    auroc_base: Discrimination = Field(description="On the base policy's test text.")
    auroc_previous_round: Discrimination = Field(description="On the previous round's test text (round 0: base text).")
    auroc_own_round: Discrimination = Field(description="On its own round's test text, which it was optimised against.")
    same_style: SameStyleFigure | None = Field(
        None,
        description="Same-problem, same-role, same-style accuracy on its own round's test text. Absent in older files.",
    )


class TwinFigure(Interval):
    """Share of pairs of a right solution and its copy with one injected error that are ranked right, ties half."""

    pairs: int = Field(description="Pairs.")


class TwinAccuracy(TwinFigure):
    """The same over all injected errors, and by kind."""

    kinds: dict[str, TwinFigure] = Field(
        description="By kind of error: `slip` (of arithmetic), `misread` (a number of the problem)."
    )


class JudgeSummary(Stored):
    """The held-out judge: what it is, how independent of the verifiers, and what it can read."""

    model: str = Field(description="Model it started from.")
    verifier_model: str = Field(description="Model the verifiers started from.")
    score: str = Field(description="What its score is made of.")
    updates: int = Field(description="Optimizer steps it was trained for.")
    parameters: int = Field(description="Parameters.")
    texts: int = Field(description="Solutions it was trained on, base text alone.")
    own_model: bool = Field(description="Whether it starts from another model than the verifiers.")
    own_problems: int = Field(description="Problems it learnt from and no verifier did; 0: it shared the verifiers'.")
    base_text: Interval = Field(description="Same-problem accuracy on the base policy's test text.")
    same_style: SameStyleFigure = Field(description="The same on pairs of one style.")
    twins: TwinAccuracy | None = Field(
        description="Accuracy on test problems' solutions against copies with one error; null: no solutions."
    )
    believed: bool = Field(description="Whether `base_text` is at least 0.9; if not, its checkability means nothing.")
    remarks: list[str] = Field(description="What it can and cannot do, for people.")


class RoundSummary(Sparse):
    """A round of the game, on test text of its final prover."""

    round: int = Field(description="The round.")
    steps: int = Field(description="PPO steps done.")
    stopped: str = Field(description="Why the prover phase ended.")
    steps_to_exploit: int | None = Field(description="PPO step at which the verifier was fooled; null: never.")
    score_scale: float = Field(description="Scale the scores were divided by at the end.")
    helpful_accuracy: Number = Field(description="Share of correct helpful text.")
    helpful_interval: Bounds = Field(description="Its bounds.")
    helpful_length: Number = Field(description="Mean helpful length, tokens.")
    helpful_invalid: Number = Field(description="Share of helpful text without a readable answer.")
    sneaky_accuracy: Number = Field(description="Share of correct sneaky text.")
    sneaky_interval: Bounds = Field(description="Its bounds.")
    sneaky_length: Number = Field(description="Mean sneaky length, tokens.")
    sneaky_invalid: Number = Field(description="Share of sneaky text without a readable answer.")
    score_helpful_correct: Number = Field(description="Mean V of helpful-correct text.")
    score_sneaky_incorrect: Number = Field(description="Mean V of sneaky-incorrect text.")
    checkability: dict[str, Number] = Field(description="Of the helpful text, as of the base policy.")
    checkability_interval: dict[str, Bounds] | None = Field(None, description="Likewise.")
    verifier: VerifierSummary = Field(description="The round's verifier.")


class GameSummary(Stored):
    """The game: its rounds, and the helpful accuracy it ends with."""

    rounds: list[RoundSummary] = Field(description="The rounds, in order.")
    accuracy: Number = Field(description="Helpful accuracy of the last round.")
    interval: Bounds = Field(description="Its bounds.")


class Arms(Sparse):
    """Every policy of a run."""

    init: StartSummary = Field(description="The base policy.")
    game: GameSummary = Field(description="The game.")
    correctness: CorrectnessSummary | None = Field(
        None, description="The correctness-only arm; absent where the run has none."
    )
    others: dict[ConditionKey, PolicySummary] | None = Field(
        None, description="Text of the other arms of `game.arms`; absent where there are none."
    )


class Summary(Sparse):
    """summary.json: every headline number of a run. Intervals are percentile bootstraps over test problems."""

    version: Literal[2] = Field(SCHEMA, alias="schema", description="Version of this file's layout.")
    run: str = Field(description="Name of the run folder.")
    seed: int = Field(description="Seed of the run.")
    quick: bool | None = Field(
        None, description="true: a game of train --quick, too small to measure anything. Absent: a whole one."
    )
    wall_seconds: float = Field(description="Wall time of all phases.")
    peak_memory_mb: float = Field(description="Peak memory, MiB.")
    decoding: SummaryDecoding = Field(description="How the test text was sampled.")
    reward: str = Field(description="What provers of the game were paid: src, cgc or goodhart.")
    arms: Arms = Field(description="Every policy.")
    legibility_tax: Interval = Field(description="Accuracy of the correctness-only arm minus the last round's.")
    legibility_tax_equal_helpful_samples: Interval = Field(
        description="The same with the correctness-only arm at half its steps."
    )
    retained_gain: Interval = Field(
        description="(game - start) / (correctness-only - start); null where the two ends coincide."
    )
    retained_gain_equal_helpful_samples: Interval | None = Field(
        None, description="The retained gain with the correctness-only arm at half its steps. Absent in older files."
    )
    held_out_judge: JudgeSummary | None = Field(
        None, description="The held-out judge; absent where a run has none, and in older files."
    )
    evaluation: Evaluation | None = Field(None, description="The sections of an evaluation; absent before one.")

    @property
    def judge_doubt(self) -> str | None:
        """Why the held-out judge's checkability figures are not to be believed; None where they are, or there is none."""
        judge = self.held_out_judge
        return None if judge is None or judge.believed else f"held-out judge: {judge.remarks[0]}"


def read_summary(path: Path) -> Summary:
    """The summary in a file, today's or of an earlier version. Raises UserError for a file that cannot be read."""
    fix = f"{own_command('evaluate', path.parent, '--quick')} writes it again"
    return read_stored(path, Summary, fix=fix, upgrade=upgraded)


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A summary of an earlier version under today's keys. Raises UserError for one of a later version."""
    version = data.get("schema", 1)
    if isinstance(version, int) and version > SCHEMA:
        raise UserError(f"summary of layout {version}: this version of legibility reads up to {SCHEMA}; upgrade it")
    return {**data, "schema": SCHEMA}  # older names of the held-out judge are understood by its keys
