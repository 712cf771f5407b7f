"""What an evaluation writes: a model per file.

Every section of an evaluation is a file of its own, `evaluation/<name>.json`, and stands in the summary's
`evaluation` too (legibility.evaluation.summary_schema); `SECTION_FILES` names the model of each. Units: accuracies,
shares and AUROC are fractions of 1, lengths are tokens, scores are raw values of V. A number that is not defined is
null.
Judges, sets of text and arms are records here and keys in the files (legibility.evaluation.text_sets).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, Field, RootModel

from legibility.evaluation.attack_schema import AttackRecord, RobustnessRow, SurvivalRow
from legibility.evaluation.reading_schema import (
    AcceptanceFile,
    AcceptanceRow,
    HandoffFile,
    HandoffRow,
    InvarianceFile,
    InvarianceRow,
    SufficiencyFile,
    SufficiencyRow,
)
from legibility.evaluation.text_sets import ArmKey, TextKey, VerdictKey
from legibility.game.condition import JudgeKey
from legibility.game.run_folder import RunFolder
from legibility.pasted import own_command
from legibility.stored import Interval, Number, Sparse, Stored, read_stored, write_stored

FOLDER = "evaluation"

Bounds: TypeAlias = tuple[Number, Number]
"""Low and high end of an interval."""


class Decoding(Stored):
    """How the text behind a figure was sampled."""

    temperature: float = Field(description="Sampling temperature.")
    samples: int = Field(description="Completions per problem.")
    problems: int = Field(description="Problems.")


# --- The matrix ------------------------------------------------------------------------------------


class Counts(Stored):
    """Valid texts of a set."""

    correct: int = Field(description="Texts whose answer is correct.")
    incorrect: int = Field(description="Texts whose answer is not.")


class PairCounts(Stored):
    """Same-style pairs of a set."""

    pairs: int = Field(description="Pairs of a correct and an incorrect text of one problem and style.")
    coverage: Number = Field(description="Their share of all such pairs of one problem, whatever the style.")


class Matrix(Sparse):
    """matrix.json: every judge on every set of text, as `metric[judge][text]`; null where there is too little text."""

    verifiers: list[JudgeKey] = Field(description="The judges: each round's verifier, then the held-out judge.")
    solutions: list[TextKey] = Field(description="The sets of text.")
    counts: dict[TextKey, Counts] = Field(description="Valid texts of each set.")
    threshold: dict[JudgeKey, Number] = Field(
        description="Score from which a judge accepts: it takes `evaluation.recall` of round 0's helpful-correct "
        "validation text. Null where there is no such text."
    )
    decoding: Decoding = Field(description="How the text was sampled.")
    least: int = Field(description="Texts of each class (pairwise: pairs) below which a figure is null.")
    auroc: dict[JudgeKey, dict[TextKey, Number]] = Field(description="P(V(correct) > V(incorrect)), ties half.")
    auroc_interval: dict[JudgeKey, dict[TextKey, Bounds]] = Field(description="Its bounds.")
    pairwise: dict[JudgeKey, dict[TextKey, Number]] = Field(
        description="The same over pairs of one problem, pooled over problems."
    )
    pairwise_interval: dict[JudgeKey, dict[TextKey, Bounds]] = Field(description="Its bounds.")
    recall: dict[JudgeKey, dict[TextKey, Number]] = Field(description="Share of correct text that is accepted.")
    recall_interval: dict[JudgeKey, dict[TextKey, Bounds]] = Field(description="Its bounds.")
    fpr: dict[JudgeKey, dict[TextKey, Number]] = Field(description="Share of incorrect text that is accepted.")
    fpr_interval: dict[JudgeKey, dict[TextKey, Bounds]] = Field(description="Its bounds.")
    same_style: dict[JudgeKey, dict[TextKey, Number]] | None = Field(
        None,
        description="The headline: as `pairwise`, over pairs of one role and one style (lines, equals signs and numbers); "
        "attackers' text: of one style. Both roles of a round: inside each. Absent in older files.",
    )
    same_style_interval: dict[JudgeKey, dict[TextKey, Bounds]] | None = Field(
        None, description="Its bounds. Absent in older files."
    )
    same_style_pairs: dict[TextKey, PairCounts] | None = Field(
        None, description="How many pairs that is. Absent in older files."
    )


# --- Soundness and calibration ---------------------------------------------------------------------


class WorstCase(Interval):
    """Share of problems on which at least one of several incorrect attempts is accepted."""

    attempts: float = Field(description="Incorrect sneaky attempts per problem, mean.")
    problems: int = Field(description="Problems with such an attempt.")


class ReliabilityBin(Stored):
    """A point of the reliability curve: a bin of texts by predicted probability."""

    predicted: float = Field(description="Mean predicted probability of being correct.")
    observed: float = Field(description="Share that is correct.")
    n: int = Field(description="Texts.")


class SoundnessRow(Sparse):
    """A row of soundness.json: a judge on its own round's text (the held-out judge: the last round's)."""

    verifier: JudgeKey = Field(description="The judge.")
    text: TextKey = Field(description="The text it reads.")
    threshold: Number = Field(description="Score from which it accepts; null where it could not be fixed.")
    recall: Interval | None = Field(None, description="Helpful-correct text accepted. Absent without a threshold.")
    fpr: Interval | None = Field(None, description="Sneaky-incorrect text accepted. Absent without a threshold.")
    g_mean_squared: Interval | None = Field(
        None, description="`recall` × (1 − `fpr`) (arXiv 2512.18311). Absent without a threshold, and in older files."
    )
    worst_case: WorstCase | None = Field(
        None, description="Problems on which a sneaky-incorrect attempt is accepted. Absent without a threshold."
    )
    ece: Interval = Field(description="Expected calibration error after a logistic fit (ten bins of equal counts).")
    ece_raw: Interval = Field(description="The same of sigmoid(V).")
    curve: list[ReliabilityBin] = Field(description="Reliability curve after the fit.")
    decoding: Decoding = Field(description="How the text was sampled.")


# --- Best-of-n -------------------------------------------------------------------------------------


class BestOfNRow(Stored):
    """A row of best_of_n.json: does a round's verifier pick a correct solution among n, half of them correct?"""

    round: int = Field(description="The round whose verifier picks from its own helpful text.")
    n: int = Field(description="Solutions to pick from.")
    value: Number = Field(description="P(the favourite is correct), mean over problems.")
    low: Number = Field(description="Lower bound.")
    high: Number = Field(description="Upper bound.")
    null: Number = Field(
        None, description="What random scores get on this pool: 0.5 only where no text repeats. Null in older files."
    )
    above_null: Interval | None = Field(None, description="value - null, paired by problem. Null in older files.")
    problems: int = Field(description="Problems with n/2 correct and n/2 incorrect solutions.")
    role: str = Field(description="Role of the writer.")
    decoding: Decoding = Field(description="How the pool was sampled.")


# --- Legibility tax --------------------------------------------------------------------------------


class Measured(Sparse):
    """A measure of an arm's text, as it is and at the lengths of the last game round's text."""

    raw: Interval = Field(description="On the arm's text as it is.")
    matched: Interval | None = Field(None, description="With the text weighted to the last round's lengths.")
    difference: Interval | None = Field(None, description="Raw minus the last game round's.")
    difference_matched: Interval | None = Field(None, description="The same at equal length.")


class TaxArm(Sparse):
    """An arm's helpful test text in tax.json."""

    mean_length: float = Field(description="Mean completion length, tokens.")
    support: float = Field(description="Share of the last game round's text at lengths that the arm has too.")
    checkability: dict[str, Measured] = Field(
        description="How well the text can be checked: `last_verifier`, `held_out_judge` (same-problem pairwise "
        "accuracy), `step_validity` (share of written steps that are true), `human` (accuracy of raters; raw only)."
    )
    accuracy: Measured = Field(description="Share of correct answers.")
    step_validity_standardised: Measured | None = Field(
        None,
        description="`step_validity` at half correct, half incorrect text: the mean of its means over both. Absent in "
        "older files.",
    )


class Tax(Sparse):
    """tax.json: what checkability costs in accuracy, and what it brings."""

    reference: ArmKey = Field(description="The arm others are compared with: the last round of the game.")
    arms: dict[ArmKey, TaxArm] = Field(description="Every arm.")
    decoding: Decoding = Field(description="How the text was sampled.")
    step_validity_exact: bool = Field(description="Whether all problems know their steps; else arithmetic is judged.")
    tax: dict[ArmKey, Interval] = Field(description="Accuracy of a correctness arm minus the game's.")
    tax_matched: dict[ArmKey, Interval] = Field(description="The same at equal length.")
    retained_gain: Interval | None = Field(
        None, description="(game - start) / (correctness-only - start). Absent without the correctness-only arm."
    )


# --- Text ------------------------------------------------------------------------------------------


class SubtletyRow(Stored):
    """A row of subtlety.json: the written steps of some solutions."""

    text: VerdictKey = Field(description="Whose text, and of which verdict.")
    solutions: int = Field(description="Texts.")
    exact: bool = Field(description="Whether all problems know their steps; else only arithmetic is judged.")
    with_steps: Interval = Field(description="Share of texts that write a step.")
    arithmetic_holds: Interval = Field(description="Share of written steps whose arithmetic holds.")
    validity: Interval = Field(description="Mean over texts of the share of written steps that are valid.")
    least_validity: Interval = Field(description="Share of texts in which every written step is valid.")
    wrong_steps: Interval = Field(description="Mean number of wrong steps of texts that write any step.")
    carried: Interval = Field(
        default_factory=Interval, description="Share of wrong steps that follow from an earlier mistake."
    )
    first_wrong_place: Interval = Field(description="Where the first wrong step stands: near 0 the start, 1 the end.")
    flaws: dict[str, float] = Field(
        description="Share of texts by their first wrong step: `slip`, `foreign`; `unwritten`: no written step is "
        "wrong; `no steps`: none is written."
    )
    decoding: Decoding = Field(description="How the text was sampled.")


class SeparabilityRow(Sparse):
    """A row of separability.json: a probe that tells the roles apart from text, on some PPO steps of a round."""

    round: int = Field(description="The round.")
    step: int = Field(description="Last PPO step of the window; 0: the base policy's text.")
    all: Interval | None = Field(description="AUC on problems it was not fitted on; null: too little text.")
    incorrect: Interval | None = Field(description="The same among incorrect text only.")
    texts: int = Field(description="Texts read, half of them of each role; the same number in every window.")
    texts_incorrect: int | None = Field(None, description="The same of `incorrect`. Absent in older files.")


class HackingRow(Sparse):
    """A row of hacking.json: a rewrite that should not change a judge's mind, or junk it should not accept."""

    verifier: JudgeKey = Field(description="The judge.")
    kind: Literal["rewrite", "junk"] = Field(description="rewrite: same meaning and verdict; junk: no solution.")
    change: str = Field(description="Which rewrite, or what kind of junk.")
    texts: int = Field(description="Texts.")
    shift: Interval | None = Field(
        None, description="Mean change of V in standard deviations of V over the originals; rewrites only."
    )
    flips: Interval | None = Field(
        None, description="Share of texts whose acceptance changes; rewrites only, absent without a threshold."
    )
    accepted: Interval | None = Field(None, description="Share accepted; junk only, absent without a threshold.")
    preferred: Interval | None = Field(
        None, description="Share scored at least as high as a correct solution of the problem; junk only."
    )


class Evaluation(Sparse):
    """Every section of an evaluation that has been written; a section not computed yet is absent."""

    acceptance: list[AcceptanceRow] | None = Field(
        None, description="One row per arm and judge that reads it. Absent in older runs."
    )
    attacks: list[AttackRecord] | None = Field(None, description="One row per attack.")
    best_of_n: list[BestOfNRow] | None = Field(None, description="One row per round and n.")
    hacking: list[HackingRow] | None = Field(None, description="One row per judge and change.")
    handoff: list[HandoffRow] | None = Field(None, description="One row per arm. Absent in older runs.")
    invariance: list[InvarianceRow] | None = Field(None, description="One row per arm and judge. Absent in older runs.")
    matrix: Matrix | None = Field(None, description="Every judge on every set of text.")
    reader_robustness: list[RobustnessRow] | None = Field(
        None, description="The same of attacks on readers. Absent where there are none."
    )
    robustness: list[RobustnessRow] | None = Field(None, description="Several rows per attack.")
    separability: list[SeparabilityRow] | None = Field(None, description="One row per window of PPO steps.")
    soundness: list[SoundnessRow] | None = Field(None, description="One row per judge.")
    subtlety: list[SubtletyRow] | None = Field(None, description="One row per text.")
    sufficiency: list[SufficiencyRow] | None = Field(None, description="One row per arm. Absent in older runs.")
    survival: list[SurvivalRow] | None = Field(None, description="One row per verifier and reward.")
    tax: Tax | None = Field(None, description="Accuracy and checkability of every arm.")


class AttacksFile(RootModel[list[AttackRecord]]):
    """attacks.json."""


class BestOfNFile(RootModel[list[BestOfNRow]]):
    """best_of_n.json."""


class HackingFile(RootModel[list[HackingRow]]):
    """hacking.json."""


class RobustnessFile(RootModel[list[RobustnessRow]]):
    """robustness.json."""


class SeparabilityFile(RootModel[list[SeparabilityRow]]):
    """separability.json."""


class SoundnessFile(RootModel[list[SoundnessRow]]):
    """soundness.json."""


class SubtletyFile(RootModel[list[SubtletyRow]]):
    """subtlety.json."""


class SurvivalFile(RootModel[list[SurvivalRow]]):
    """survival.json."""


SECTION_FILES: dict[str, type[BaseModel]] = {
    "acceptance": AcceptanceFile,
    "attacks": AttacksFile,
    "best_of_n": BestOfNFile,
    "hacking": HackingFile,
    "handoff": HandoffFile,
    "invariance": InvarianceFile,
    "matrix": Matrix,
    "reader_robustness": RobustnessFile,
    "robustness": RobustnessFile,
    "separability": SeparabilityFile,
    "soundness": SoundnessFile,
    "subtlety": SubtletyFile,
    "sufficiency": SufficiencyFile,
    "survival": SurvivalFile,
    "tax": Tax,
}
"""The model of evaluation/<name>.json, by name."""

Section: TypeAlias = BaseModel | Sequence[BaseModel]
"""What a section computes: a model, or rows."""


def write_section(run: RunFolder, name: str, section: Section) -> None:
    """Write a section (a model, or a list of rows) as evaluation/<name>.json."""
    file, model = section_file(run, name), SECTION_FILES[name]
    file.parent.mkdir(exist_ok=True)
    write_stored(file, section if isinstance(section, model) else model.model_validate(section))


def section_file(run: RunFolder, name: str) -> Path:
    """Where a section stands."""
    return run.path / FOLDER / f"{name}.json"


def read_evaluation(run: RunFolder) -> Evaluation | None:
    """Every section an evaluation has written, or None. Raises UserError for a file that cannot be read."""
    found = {}
    for name, model in SECTION_FILES.items():
        file = section_file(run, name)
        if file.is_file():
            section = read_stored(file, model, fix=f"{own_command('evaluate', run.path, '--quick')} writes it again")
            found[name] = section.root if isinstance(section, RootModel) else section
    return Evaluation(**found) if found else None
