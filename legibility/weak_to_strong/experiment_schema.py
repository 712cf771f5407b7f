"""summary.json of a weak-to-strong experiment, key by key, and its reader.

Accuracies are shares of the test items. An entry of `students` is one combination of weak model, student,
objective, teacher and oversight; docs/weak-to-strong.md explains how each is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from legibility.errors import UserError
from legibility.pasted import own_command
from legibility.stored import Interval, Number, Sparse, Stored, read_stored
from legibility.weak_to_strong.experiment_settings import ALONE, SINGLE
from legibility.weak_to_strong.pgr import LabelAgreement, PgrEstimate

VERSION: Final = 2


class WeakEntry(Sparse):
    """A weak teacher on the test items. The lists of an ensemble have an entry per seed; a single model has none."""

    model: str = Field(description="Name of the weak model.")
    teacher: str = Field(description='Name of the ensemble, or "single".')
    oversight: str = Field(description='Name of the oversight, or "none".')
    parameters: int = Field(description="Parameters of the model (of one member).")
    accuracy: Interval = Field(description="Test accuracy.")
    accuracy_on_student_half: float = Field(description="Share of right labels on half B, mean over seeds.")
    ensemble_sizes: list[int] | None = Field(None, description="Members used, chosen on validation.")
    validation_accuracy_by_size: list[list[float]] | None = Field(
        None, description="Validation accuracy of the first 1, 2, … members."
    )
    learner_weights: list[list[float]] | None = Field(None, description="AdaBoost's weights of the members.")
    stopped: list[str | None] | None = Field(None, description="Why boosting stopped early (null: it did not).")


class CeilingEntry(Stored):
    """A student's model trained on half B's truth."""

    model: str = Field(description="Name of the model.")
    objective: str = Field(description='"xent", or "probe" for a logistic regression on frozen features.')
    parameters: int = Field(description="Parameters of the model.")
    accuracy: Interval = Field(description="Test accuracy.")


class StudentSizes(Stored):
    """Who taught whom, and how large they are."""

    weak: str = Field(description="Name of the weak model.")
    strong: str = Field(description="Name of the student.")
    weak_parameters: int = Field(description="Parameters of the weak model.")
    strong_parameters: int = Field(description="Parameters of the student.")
    chain: list[str] = Field(description="Models from the weak one to the student (more than two: bootstrapping).")
    ratio: float = Field(description="Student parameters divided by weak parameters.")


class ChosenStep(Stored):
    """A student at an evaluation point that was chosen on validation items."""

    accuracy: Interval = Field(description="Test accuracy there.")
    pgr: PgrEstimate = Field(description="Gap recovered there.")


class LearningPoint(Stored):
    """A student's labels of the test items during training; means over seeds."""

    step: int = Field(description="Optimizer steps done.")
    share: float = Field(description="Share of training done.")
    true: Number = Field(description="Share that agrees with the truth.")
    weak: Number = Field(description="Share that agrees with the supervisor's labels.")


class StudentEntry(Stored):
    """One student. The headline numbers are of its last training step."""

    objective: str = Field(description="What it was trained to match.")
    teacher: str = Field(description='Name of the ensemble that taught it, or "single".')
    oversight: str = Field(description='Name of the oversight its teacher had, or "none".')
    sizes: StudentSizes = Field(description="Who taught whom.")
    accuracy: Interval = Field(description="Test accuracy.")
    pgr: PgrEstimate = Field(description="Gap recovered, against the plain weak model.")
    pgr_over_supervisor: PgrEstimate = Field(description="Gap recovered, against the labels it learned from.")
    gain_over_weak: Interval = Field(description="Accuracy minus the plain weak model's, paired.")
    gap: Interval = Field(description="The ceiling's accuracy minus the plain weak model's, paired.")
    best: ChosenStep = Field(description="The point that agrees best with the weak labels of validation items.")
    oracle_best: ChosenStep = Field(description="The point that agrees best with the truth of validation items.")
    agreement: LabelAgreement = Field(description="How often it gives its supervisor's label on test items.")
    curve: list[LearningPoint] = Field(description="Test accuracy during training.")

    @property
    def plain(self) -> bool:
        """Taught by a single weak model without help."""
        return (self.teacher, self.oversight) == (SINGLE, ALONE)

    @property
    def pair(self) -> tuple[str, str]:
        """(weak, strong)."""
        return self.sizes.weak, self.sizes.strong


class SkippedStudent(Stored):
    """A combination of the grid that was not trained."""

    weak: str = Field(description="Name of the weak model.")
    strong: str = Field(description="Name of the student.")
    objective: str = Field(description="The objective.")
    why: str = Field(description="The reason.")


class DriftPoint(Stored):
    """One generation of the auto-aligner; means over the seeds that reached it."""

    generation: int = Field(description="Number of the generation; 0 is the weak model.")
    model: str = Field(description="Name of its model.")
    seeds: int = Field(description="Seeds that reached it.")
    trusted_agreement: float = Field(description="Agreement with the trusted set's labels, cross-validated.")
    agreement_with_generation_0: float = Field(description="Share of test items it labels as generation 0 does.")
    test_accuracy: float = Field(description="Test accuracy.")
    alarms: int = Field(description="Seeds in which it raised an alarm.")


class AlignerPath(Stored):
    """One way from the weak model to the last generation's model."""

    accuracy: Interval = Field(description="Test accuracy at its end.")
    pgr: PgrEstimate = Field(description="Gap recovered at its end.")


class AutoAlignerSection(Sparse):
    """The recursive auto-aligner, and the paths it is compared with."""

    generations: list[str] = Field(description="Names of the models, the weak one first.")
    objective: str = Field(description="Objective of every generation.")
    drift: list[DriftPoint] = Field(description="Agreement and accuracy by generation.")
    supervisor_generation: list[int] = Field(description="Per seed, the last generation before an alarm.")
    alarms: list[list[str | None]] = Field(description="Per seed and generation, the alarm (null: none).")
    auto_aligner: AlignerPath = Field(description="The generation that may be used.")
    one_jump_calibrated: AlignerPath = Field(description="First and last generation only, with calibration.")
    one_jump: AlignerPath | None = Field(None, description="The plain student of the weak model, uncalibrated.")
    bootstrapping: AlignerPath | None = Field(
        None, description="All sizes in between, uncalibrated; left out where there is none in between."
    )


class OtherReading(Stored):
    """The answers when log-odds are read the other way (raw for calibrated, or calibrated for raw)."""

    accuracy: float = Field(description="Accuracy on the queries.")
    says_right: float = Field(description='Share of queries answered " yes".')


class InContextRow(Stored):
    """One way of choosing and showing demonstrations."""

    select: str = Field(description="How demonstrations are chosen.")
    confidence: bool = Field(description="Whether the weak model's confidence is shown.")
    accuracy: Interval = Field(description="Accuracy on the queries.")
    says_right: float = Field(description='Share of queries answered " yes".')
    auroc: float = Field(description="AUROC of the log-odds, mean over seeds.")
    otherwise: OtherReading = Field(description="The same under the other reading.")


class InContextSection(Stored):
    """In-context weak-to-strong: a language model that reads demonstrations labelled by the weak model."""

    model: str = Field(description="The language model.")
    weak: str = Field(description="Name of the weak model that labels the demonstrations.")
    demonstrations: int = Field(description="Demonstrations per query.")
    queries: int = Field(description="Test items asked.")
    reading: Literal["raw", "calibrated"] = Field(description="How the headline reads log-odds.")
    format_steps: int = Field(description="Steps of fine-tuning on the form of the prompts.")
    trusted: int = Field(description="Trusted items they were made of.")
    weak_accuracy: Interval = Field(description="The weak model's accuracy on the queries.")
    weak_auroc: float = Field(description="The weak model's AUROC on the queries, mean over seeds.")
    rows: list[InContextRow] = Field(description="Every way of choosing and showing demonstrations.")


class GameTeacherRound(Stored):
    """A round's verifier as a teacher, on one kind of test text."""

    round: int = Field(description="Round of the verifier.")
    teacher_accuracy: Interval = Field(description="The verifier's accuracy.")
    student_accuracy: Interval = Field(description="Its student's accuracy.")
    pgr: PgrEstimate = Field(description="Gap its student recovered.")


class GameTeacherText(Stored):
    """Both verifiers as teachers, on one kind of test text."""

    text: str = Field(description='"base" or "sneaky" (the last round\'s).')
    items: int = Field(description="Test items.")
    ceiling: Interval = Field(description="Accuracy of the student's model trained on the truth.")
    teachers: list[GameTeacherRound] = Field(description="The first and the last round.")
    student_last_minus_first: Interval = Field(description="Students' accuracies, last round minus first, paired.")
    teacher_last_minus_first: Interval = Field(description="Verifiers' accuracies, last round minus first, paired.")


class GameTeacherSection(Stored):
    """A run's first and last verifier as teachers."""

    rounds: tuple[int, int] = Field(description="The first and the last round.")
    student: str = Field(description="Name of the student.")
    objective: str = Field(description="Its objective.")
    student_items: int = Field(description="Solutions of prover-half problems that the verifiers label.")
    label_accuracy: dict[int, float] = Field(description="By round, share of right labels, mean over seeds.")
    sets: list[GameTeacherText] = Field(description="Results by kind of test text.")


class GenerationPair(Stored):
    """The two language models of the generative task."""

    weak: str = Field(description="Weak language model.")
    strong: str = Field(description="Strong language model.")


class GenerationSection(Stored):
    """The generative task: solving problems after fine-tuning on a weak model's solutions."""

    sizes: GenerationPair = Field(description="Who taught whom.")
    test_problems: int = Field(description="Test problems, each answered once.")
    start: Interval = Field(description="Accuracy of the strong model before fine-tuning.")
    weak: Interval = Field(description="Accuracy of the weak model.")
    ceiling: Interval = Field(description="Accuracy of the strong model fine-tuned on worked solutions.")
    accuracy: Interval = Field(description="Accuracy of the student.")
    weak_label_accuracy: float = Field(description="Share of right answers among the weak model's labels.")
    pgr: PgrEstimate = Field(description="Gap recovered.")


class ExperimentSummary(Stored):
    """summary.json: everything an experiment found."""

    version: Literal[2] = Field(VERSION, alias="schema", description="Version of this file's keys.")
    name: str = Field(alias="study", description="Name of the experiment's folder.")
    task: str = Field(description="Kind of the task.")
    text: str | None = Field(description="The run whose text is classified, or who wrote it (null: a data set).")
    seeds: list[int] = Field(description="Seeds.")
    items: dict[str, int] = Field(description="Items by part, of the first seed.")
    test_groups: int = Field(description="Problems among the test items.")
    confidence_level: float = Field(description="Confidence level of every interval.")
    weak: list[WeakEntry] = Field(description="Weak teachers.")
    ceiling: list[CeilingEntry] = Field(description="Ceilings.")
    students: list[StudentEntry] = Field(description="Students.")
    skipped: list[SkippedStudent] = Field(description="Combinations that were not trained.")
    auto_aligner: AutoAlignerSection | None = Field(None, description="The recursive auto-aligner.")
    in_context: InContextSection | None = Field(None, description="In-context weak-to-strong.")
    game_teacher: GameTeacherSection | None = Field(None, description="The game's verifiers as teachers.")
    generation: GenerationSection | None = Field(None, description="The generative task.")
    cpu_seconds: float = Field(description="CPU seconds of all cells.")
    peak_memory_mb: float = Field(description="Greatest resident memory of a process, in MiB.")


def read_summary(folder: Path) -> ExperimentSummary:
    """The summary.json of an experiment's folder.

    Raises UserError where the experiment is not finished, the file is damaged, or its version too old.
    """
    path = folder / "summary.json"

    def this_version(data: dict[str, Any]) -> dict[str, Any]:
        if data.get("schema") != VERSION:
            raise UserError(
                f"{path}: schema {data.get('schema')}, this version reads {VERSION}; "
                "run the experiment again in a new folder"
            )
        return data

    return read_stored(
        path,
        ExperimentSummary,
        fix="finish the experiment with: "
        + own_command("weak-to-strong", path.parent / "config.yaml", "--out", path.parent, "--resume"),
        upgrade=this_version,
    )
