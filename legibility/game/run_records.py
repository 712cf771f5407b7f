"""The small JSON files of a run folder, one model per file: what was run, when a phase ended, how training went.

Completions, weights and step-by-step metrics stand beside them in parquet, safetensors and JSON Lines. Every
model has a version under the key `schema`; files from before they had one are read as version 1.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legibility.problems.contamination import Contamination, PartCounts
from legibility.stored import Number, Sparse, Stored

MANIFEST, DONE, TRAINING, METRICS, RESOURCES = (
    "manifest.json",
    "DONE",
    "training.json",
    "metrics.json",
    "resources.json",
)


class Versioned(Sparse):
    """A file with the version of its layout."""

    version: Literal[1] = Field(1, alias="schema", description="Version of this file's layout.")


# --- The run ---------------------------------------------------------------------------------------


class ProblemFacts(Stored):
    """The problems of a run, and what was done to keep its parts apart."""

    counts: PartCounts = Field(description="Problems used, by part.")
    contamination: Contamination = Field(description="Duplicates between the parts, and what was dropped for them.")


class ModelFacts(Stored):
    """A model that a run starts from."""

    role: str = Field(description="prover, verifier or held_out_judge.")
    model: str = Field(description="Its name in the settings: a hub id, a folder, or a built-in model.")
    revision: str | None = Field(description="Revision that the settings ask for; null: the newest.")
    commit: str | None = Field(description="Commit that was loaded from the hub; null: not from the hub.")


class Manifest(Versioned):
    """manifest.json: where and with what a run (or a weak-to-strong experiment) was made."""

    created: str = Field(description="When the folder was made: local time with its offset from UTC.")
    python: str = Field(description="Version of Python.")
    packages: dict[str, str | None] = Field(description="Versions of the packages that matter; null: not installed.")
    git_commit: str | None = Field(description="Commit of this package's source; null for an installed package.")
    platform: str = Field(description="Operating system and processor.")
    cpu_count: int | None = Field(description="CPU cores of the machine.")
    torch_threads: int = Field(description="Threads torch computed with.")
    ranks: int | None = Field(
        None, description="Processes of a launcher (torchrun) that the work was shared by. Absent: one process."
    )
    gpu: str | None = Field(description="Name of the GPU; null: none.")
    command: str | None = Field(
        None, description="The command that was typed; null: called from Python. Older folders have its name alone."
    )
    device: str | None = Field(None, description="Device of the models.")
    quick: list[str] | None = Field(
        None,
        description="Settings that train --quick made smaller, as section.key=value: a game to look at, which measures nothing. Absent: a whole one.",
    )
    extended: list[int] | None = Field(
        None, description="Rounds of the game before it got more, each time it did. Absent: it never did."
    )
    extended_by: list[str | None] | None = Field(
        None, description="The command typed for each time in extended; null: not known, or called from Python."
    )
    seed: int | None = Field(None, description="Seed of a game.")
    base_dir: str | None = Field(
        None,
        description="Folder that relative paths of the config start from, seen from this folder; absolute in older ones.",
    )
    problems: ProblemFacts | None = Field(None, description="The problems of a game.")
    models: list[ModelFacts] | None = Field(None, description="The models of a game, as they were when it began.")
    seeds: list[int] | None = Field(None, description="Seeds of a weak-to-strong experiment.")
    sha256: dict[str, str] | None = Field(
        None, description="SHA-256 of config.yaml and problems.jsonl; absent in older folders, which are not checked."
    )
    coming: dict[str, str] | None = Field(
        None, description="SHA-256 of the config.yaml that is about to replace the one there. Absent: none is."
    )

    @property
    def extensions(self) -> list[tuple[int, str | None]]:
        """Rounds before the game got more and the command that was typed for it, each time."""
        times = self.extended or []
        commands = [*(self.extended_by or []), *([None] * len(times))]
        return list(zip(times, commands, strict=False))

    @property
    def typed(self) -> str | None:
        """The command that was typed, None where that is not known."""
        return self.command if self.command is not None and " " in self.command else None


class Done(Versioned):
    """DONE: the last file a phase writes. A folder without it is not a finished phase."""

    phase: str = Field(description="The phase's folder inside the run.")
    seconds: float = Field(description="Wall time of the phase.")
    peak_memory_mb: float = Field(description="Peak memory of the process and its workers until then, MiB.")
    sha256: dict[str, str] = Field(description="SHA-256 of every file of the phase, by path inside its folder.")


class Resources(Versioned):
    """resources.json: what the last session of a run used."""

    last_session_seconds: float = Field(description="Wall time of the last `train` of this run.")
    peak_memory_mb: float = Field(description="Its peak memory with all workers, MiB.")


# --- The base policy -------------------------------------------------------------------------------


class WarmStartMetrics(Versioned):
    """warm_start/metrics.json: the supervised fine-tuning before the game."""

    steps: int = Field(description="Updates done.")
    seconds: float = Field(description="Wall time.")
    tokens: int = Field(description="Tokens trained on.")
    first_loss: float = Field(description="Mean loss of the first tenth of the updates.")
    last_loss: float = Field(description="Mean loss of the last tenth.")
    pairs: int = Field(description="Prompts with solutions trained on.")
    dropped: int = Field(description="Pairs left out because they are too long.")
    sneaky_pairs: int | None = Field(
        None,
        description="Corrupted solutions among them, those left out too, under the sneaky prompt; absent where it learned nothing.",
    )


class BaseMetrics(Versioned):
    """base/metrics.json: accuracy of the base policy by split and prompt. Invalid answers count as wrong."""

    verifier_helpful: float = Field(description="Verifier-half problems, helpful prompt, temperature 1.")
    validation_helpful: float = Field(description="Validation problems, helpful prompt.")
    validation_sneaky: float = Field(description="Validation problems, sneaky prompt.")
    test_helpful: float = Field(description="Test problems, helpful prompt.")
    test_sneaky: float = Field(description="Test problems, sneaky prompt.")
    judge_helpful: float | None = Field(
        None, description="The held-out judge's problems, helpful prompt, temperature 1; absent where it has none."
    )


# --- Provers ---------------------------------------------------------------------------------------


class ProverTraining(Versioned):
    """training.json of a prover phase: a round, the correctness-only arm, an attack."""

    arm: str = Field(description="What the completions are labelled with: game, correctness, an attack.")
    round: int = Field(description="The round; of an attack, the verifier's round; 0 where there is none.")
    steps: int = Field(description="PPO steps done.")
    stopped: str = Field(description="Why the phase ended.")
    score_scale: float = Field(description="Scale the verifier's scores were divided by, at the end.")
    steps_to_exploit: int | None = Field(description="Step at which the verifier was fooled; null: it was not.")
    reward: str = Field(description="What was paid: src, cgc, goodhart, or the name of an arm.")


class LengthPenalisedTraining(ProverTraining):
    """training.json of the length-penalised correctness arm."""

    length_penalty: float = Field(description="Taken off the reward of a completion of full length.")


class TandemTraining(ProverTraining):
    """training.json of tandem training: a frozen weak model, the junior, wrote along."""

    unit: str = Field(description="Where the writers changed: token or line.")
    share: float = Field(description="Chance that the junior wrote the next unit.")
    junior_share: Number = Field(description="Share of the tokens of all texts that the junior wrote.")
    accuracy_junior_none: Number = Field(description="Accuracy of texts in which the junior wrote nothing.")
    accuracy_junior_less: Number = Field(description="Accuracy of texts of which it wrote up to half of the tokens.")
    accuracy_junior_more: Number = Field(description="Accuracy of texts of which it wrote more.")


class RejectionTraining(ProverTraining):
    """training.json of rejection sampling (`steps`, PPO's, is 0)."""

    problems: int = Field(description="Problems that completions were drawn for.")
    completions: int = Field(description="Completions drawn.")
    kept: int = Field(description="Completions learnt from, one of a problem at most.")
    updates: int = Field(description="Optimizer steps of the fine-tuning.")
    first_loss: Number = Field(description="Nats per token over the first tenth of the updates.")
    last_loss: Number = Field(description="Nats per token over the last tenth of the updates.")


class TranslationTraining(ProverTraining):
    """training.json of a round of the decoupled game. Shares of the faithful role's completions of PPO steps."""

    solver_accuracy: Number = Field(
        description="Share of the translated solutions, one a problem and step, that are right."
    )
    faithfulness_start: Number = Field(description="Translations that keep the solution's answer, first step.")
    faithfulness: Number = Field(description="The same over the last tenth of the steps.")
    copies_start: Number = Field(description="Translations that are the solution, letter by letter, first step.")
    copies: Number = Field(description="The same over the last tenth of the steps.")


class RoundTranslation(Stored):
    """Test text of a round of the decoupled game, by the round's own verifier."""

    round: int = Field(description="The round.")
    solver_accuracy: Number = Field(description="Share of the test solutions translated that are right.")
    accuracy: Number = Field(description="Share of their faithful translations that are right.")
    faithfulness: Number = Field(description="Faithful translations with the solution's answer.")
    copies: Number = Field(description="Faithful translations that are the solution, letter by letter.")
    sneaky_accuracy: Number = Field(description="Share of the sneaky translations that are right.")
    threshold: Number = Field(
        description="Score from which the verifier accepts: where, on validation text of both roles, it is most often right of correct and of incorrect text alike."
    )
    completeness: Number = Field(
        description="Kirchner et al. 2024, Sec. 3.1: faithful-role text that is right and accepted, a share of all."
    )
    completeness_given_correct: Number = Field(
        description="Kim & Lee 2026, Sec. 2.1: right faithful-role text that is accepted, a share of the right."
    )
    accepted_given_faithful: Number = Field(
        description="Translations accepted among those that keep the answer, whatever the solution's."
    )
    accepted_given_unsolved: Number = Field(
        description="Translations accepted among those that keep a wrong answer: the lower the better."
    )
    soundness: Number = Field(description="Share of the incorrect sneaky text that is not accepted.")
    score_faithful_solved: Number = Field(description="Mean score of text that keeps a right answer.")
    score_faithful_unsolved: Number = Field(description="Mean score of text that keeps a wrong answer.")
    score_sneaky_incorrect: Number = Field(description="Mean score of incorrect sneaky text.")


class TranslationFigures(Versioned):
    """arms/decoupled/figures/figures.json: what only the decoupled game has."""

    rounds: list[RoundTranslation] = Field(description="By round.")


TRAININGS: dict[str, type[ProverTraining]] = {
    "correctness-short": LengthPenalisedTraining,
    "rft": RejectionTraining,
    "decoupled": TranslationTraining,
    "tandem": TandemTraining,
}
"""The model of an arm's training.json where it is not `ProverTraining`."""


class AttackSetup(Sparse):
    """Settings that decide what an attack of a given cap does, beside the run's own."""

    problems_per_step: int = Field(description="Problems of a PPO step.")
    incorrect: float = Field(description="Share of incorrect completions that counts as exploited (SRC, CGC).")
    goodhart_accuracy: float = Field(description="Accuracy below which a Goodhart attack counts as exploited.")
    goodhart_start: float = Field(description="Accuracy that a Goodhart attack's start must exceed.")
    min_steps: int | None = Field(
        None, description="Step before which nothing counts as exploited. Null in older files, which knew no such step."
    )
    min_samples: int | None = Field(None, description="Samples that a smoothed figure needs, likewise.")


class AttackTraining(ProverTraining):
    """training.json of an attack on one verifier."""

    seed: int = Field(description="Seed of the attack.")
    cap: int = Field(description="PPO steps after which the attack gives up.")
    quick: bool = Field(description="Whether it was made by a quick evaluation.")
    start: str = Field(description="Policy the attacker starts from: base or correctness.")
    reference_score: float = Field(description="Mean score of the round's helpful correct validation text.")
    reader: str | None = Field(None, description="Arm whose reader is attacked, instead of a round's verifier.")
    equal_steps: int | None = Field(
        None, description="PPO steps it was to make even once the verifier was exploited. Absent in older files."
    )
    fixed_reference_score: Number = Field(None, description="The same of round 0's. Absent in older files.")
    steps_to_exploit_fixed: int | None = Field(
        None, description="As `steps_to_exploit`, against round 0's text; null or absent: not exploited."
    )
    settings: AttackSetup = Field(description="The attack settings it was made under.")


# --- Verifiers -------------------------------------------------------------------------------------


class MixtureCell(Stored):
    """Texts of one component and role in a verifier's training mixture."""

    component: str = Field(description='Whose text: "base", or "round 0" and so on.')
    role: str = Field(description='Role of its writer; "any" where roles are not balanced.')
    wanted: int = Field(description="Texts the cell's share asks for.")
    taken: int = Field(description="Texts taken, half of them correct; repeated ones count each time.")
    distinct: int | None = Field(None, description="Distinct texts among them. null: not counted (older runs).")
    twins: int = Field(0, description="Incorrect texts that are a correct one with one number changed (mixture.twins).")
    available_correct: int = Field(description="Correct texts drawn, repeated ones counted each time.")
    available_incorrect: int = Field(description="Incorrect texts drawn, likewise.")
    distinct_correct: int | None = Field(None, description="Distinct correct texts to choose from.")
    distinct_incorrect: int | None = Field(None, description="Distinct incorrect texts to choose from.")


class LastUpdates(Stored):
    """Means over the last tenth of a verifier's updates."""

    loss: Number = Field(description="Training loss.")
    pair_accuracy: Number = Field(description="Same-problem pairs with the correct text scored higher.")
    score_std: Number = Field(description="Standard deviation of the scores in a batch.")


class SameStyle(Sparse):
    """Accuracy on pairs of a correct and an incorrect text of one problem, one role and one style; 0.5 is guessing.

    One style: as many written lines, "=" signs and numbers, so that no rule that counts them is right more often
    than chance.
    """

    value: Number = Field(description="Share of the pairs whose correct text scores higher, ties half.")
    pairs: int = Field(description="Pairs.")
    problems: int = Field(description="Problems that have such a pair.")
    coverage: Number = Field(description="Pairs as a share of all same-problem, same-role pairs.")
    standard_error: Number = Field(description="Standard error of `value` over problems.")
    base: Number = Field(None, description="The same inside base text; only of base text.")
    helpful: Number = Field(None, description="The same inside the helpful role; not of base text.")
    sneaky: Number = Field(None, description="The same inside the sneaky role; not of base text.")


class Discrimination(Sparse):
    """How well scores tell correct from incorrect in valid text of one policy; null where one kind is missing.

    `same_style` is the headline. A role detector does well on `pooled`, and a reader of style on all but `same_style`.
    """

    pooled: Number = Field(description="AUROC, helpful correct against sneaky incorrect; base: correct, incorrect.")
    within_role: Number = Field(description="Mean AUROC inside the roles.")
    base: Number = Field(None, description="AUROC inside base text; only of base text.")
    helpful: Number = Field(None, description="AUROC inside the helpful role; not of base text.")
    sneaky: Number = Field(None, description="AUROC inside the sneaky role; not of base text.")
    pairwise: Number = Field(description="Same-problem accuracy inside roles, pooled over styles.")
    same_style: SameStyle | None = Field(
        None, description="Same-problem, same-role, same-style accuracy. Absent in older files."
    )


class VerifierTraining(Versioned):
    """training.json of a round's verifier and of the held-out judge."""

    texts: int = Field(description="Solutions in the training mixture.")
    cells: list[MixtureCell] = Field(description="The mixture by component and role.")
    parameters: int = Field(description="Parameters of the verifier.")
    final: LastUpdates = Field(description="Training metrics at the end.")
    test: dict[str, Discrimination] = Field(description='On test text of "base" and of past rounds ("0", "1", …).')

    @staticmethod
    def key(past: int | None) -> str:
        """The key in `test` of a past round's text, or of the base policy's (None)."""
        return "base" if past is None else str(past)

    def on(self, past: int | None) -> Discrimination:
        """Discrimination on a past round's test text, or on the base policy's (None)."""
        return self.test[self.key(past)]
