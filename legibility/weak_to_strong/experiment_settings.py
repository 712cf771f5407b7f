"""Every setting of a weak-to-strong experiment, one sentence each, validated before anything is computed.

Kirchner et al. 2024's verifier game supplies the models and the text; the experiment follows Burns et al. 2023
(B) and Sang et al. 2024 (S). Names of models, teachers and oversight are the user's own: they are defined once
(`models`, `teachers`, `oversight`) and combined freely in `grid`. What is classified is in `task_settings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from legibility.config import ComputeSettings
from legibility.problems.problem_settings import ProblemSettings
from legibility.settings import Settings
from legibility.weak_to_strong.task_settings import PartSizes, SolutionsTask, Task, TextTask

Objective = Literal["xent", "confidence", "product", "bootstrapping", "probe"]
SINGLE, ALONE = "single", "none"  # the plain teacher, and the teacher without help: always defined


class ModelSettings(Settings):
    """One size: a model and how it is trained to classify."""

    model: str = Field(
        description="Hub id, folder, or nano-xs | nano-s | nano-m | nano-equal (or one of these with -marked)."
    )
    layers: int | None = Field(None, ge=1, description="Keep only this many first layers (null: all).")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    head: Literal["last_token", "surprisal", "likelihood"] = Field(
        "last_token",
        description="Linear head on the last token's features; on those and the model's own log-likelihood of the solution "
        "(mean and least token): what a language model knows about a text and its last token does not say; or on the likelihood alone.",
    )
    train: Literal["all", "probe"] = Field(
        "all",
        description="Train all weights, or only a logistic regression on frozen features, whatever the objective's name.",
    )
    template: str = Field("{problem}\n\n{solution}", description="The text to classify.")
    max_length: int = Field(512, ge=8, description="Longest text in tokens; longer ones lose their middle.")
    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the training items (null: training.epochs). A small model on few items needs more before its labels "
        "are anything but one half each.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of the weights (one-cycle).")
    head_learning_rate: float = Field(
        0.1,
        gt=0,
        description="Peak learning rate of the two likelihood weights of the surprisal head; they start at 0 and must grow in few steps.",
    )

    @model_validator(mode="after")
    def _template(self) -> ModelSettings:
        if "{problem}" not in self.template or "{solution}" not in self.template:
            raise ValueError("template must contain {problem} and {solution}")
        return self


class TrainingSettings(Settings):
    """Training of every classifier."""

    epochs: float = Field(2, gt=0, description="Passes over the training items.")
    batch_size: int = Field(32, ge=2, description="Items per step.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    evaluations: int = Field(4, ge=1, description="Points of the accuracy-by-step curve, the last step included.")
    unsupervised_steps: int = Field(
        0,
        ge=0,
        description="Steps of generative fine-tuning on half B's text, without labels, before a student is trained (B Sec. 5.2).",
    )
    unsupervised_learning_rate: float = Field(1e-4, gt=0, description="Its learning rate.")


class ConfidenceSettings(Settings):
    """Auxiliary confidence loss (B Sec. 4.3)."""

    maximum: float = Field(0.5, ge=0, le=1, description="Final weight of the student's own predictions.")
    warmup: float = Field(0.2, ge=0, le=1, description="Share of training over which the weight rises linearly from 0.")


class ProductSettings(Settings):
    """Product of labels and predictions (public code of B)."""

    label_power: float = Field(1.0, ge=0, description="Exponent of the weak labels.")
    prediction_power: float = Field(1.0, ge=0, description="Exponent of the student's predictions.")


class TeacherSettings(Settings):
    """An ensemble of weak models (S)."""

    kind: Literal["bagging", "adaboost", "gradient_boosting"] = Field(description="How members are made and combined.")
    learner: Literal["finetune", "probe"] = Field(
        "finetune", description="Members are fine-tuned models, or logistic regressions on the frozen model's features."
    )
    over: Literal["data", "features", "layers"] = Field(
        "data",
        description="Bagging: members differ by bootstrap sample, by random half of the features (probe), or by depth.",
    )
    members: int = Field(5, ge=1, description="Members trained; how many are used is chosen on validation.")
    combine: Literal["mean", "vote"] = Field("mean", description="Bagging: mean probability, or majority vote.")
    error_on: Literal["validation", "training"] = Field(
        "validation",
        description="AdaBoost: a learner's error is measured here (S: validation; the original: weighted training).",
    )
    shrinkage: float = Field(
        0.2, gt=0, le=1, description="Gradient boosting: share of each learner's logit that is added."
    )

    @model_validator(mode="after")
    def _fits(self) -> TeacherSettings:
        if self.kind == "bagging" and self.over == "features" and self.learner != "probe":
            raise ValueError("bagging over features needs learner: probe")
        if self.kind == "gradient_boosting" and self.learner != "probe":
            raise ValueError("gradient_boosting needs learner: probe")
        return self


class OversightSettings(Settings):
    """Help that the weak model reads before it labels."""

    kind: Literal["interaction", "debate", "consultancy"] = Field(
        description="An assistant's help; two debaters, one per side; or one adviser on a side drawn by lot."
    )
    help: Literal["step_check", "solution"] = Field(
        "solution",
        description="Interaction: the arithmetic check of the written steps, or the assistant's own solution.",
    )
    rebuttals: int = Field(1, ge=0, description="Debate and consultancy: further turns after the opening.")


class AssistantSettings(Settings):
    """Who speaks in oversight: a language model in the two roles, or a run's stored completions."""

    model: str = Field("nano", description="Hub id, folder or nano; used where the task has no run.")
    prompts: str = Field("nano", description="Prompt set of the two roles.")
    samples: int = Field(2, ge=1, description="Solutions per problem and role to speak from.")
    max_new_tokens: int = Field(72, ge=1, description="Length limit of one.")


class GridBlock(Settings):
    """One block of combinations; every list is crossed with every other."""

    weak: list[str] = Field(min_length=1, description="Names of weak models.")
    strong: list[str] = Field(min_length=1, description="Names of students.")
    objectives: list[Objective] = Field(
        ["xent"], min_length=1, description="What students are trained to match, and how."
    )
    teachers: list[str] = Field(
        [SINGLE], min_length=1, description='Names of teachers; "single" is the weak model itself.'
    )
    oversight: list[str] = Field([ALONE], min_length=1, description='Names of oversight; "none" is the teacher alone.')


class AutoAlignerSettings(Settings):
    """Recursive auto-aligner (S phase 2; not validated there)."""

    generations: list[str] = Field(
        min_length=2, description="Model names: the weak one, then a student per generation."
    )
    objective: Literal["xent", "confidence", "product"] = Field("xent", description="Objective of every generation.")
    tolerance: float = Field(
        0.05, ge=0, description="Alarm when agreement with the trusted set falls this far below its best."
    )
    floor: float = Field(0.5, ge=0, le=1, description="Alarm when it is below this.")
    stop: bool = Field(True, description="An alarm ends the recursion; the last sound generation stays the supervisor.")


class InContextSettings(Settings):
    """In-context weak-to-strong (S): demonstrations labelled by the weak model."""

    model: str = Field(description="Causal language model: hub id, folder or nano.")
    weak: str = Field(description="Name of the weak model that labels the demonstrations.")
    demonstrations: int = Field(4, ge=1, description="Demonstrations per query.")
    select: list[Literal["none", "random", "similar", "confident"]] = Field(
        ["none", "random", "similar", "confident"],
        min_length=1,
        description="No demonstrations (what the model knows without the weak one), at random, by TF-IDF similarity, or the Top-K most confident labels.",
    )
    confidence: list[bool] = Field(
        [False, True], min_length=1, description="Show the weak model's confidence in the prompt or not."
    )
    queries: int = Field(100, ge=2, description="Test items asked, at most.")
    format_steps: int = Field(
        0,
        ge=0,
        description="Optimizer steps of fine-tuning on the form of the prompts first, with trusted items and their true labels only "
        "(0: none; a model that never saw a question like this needs some).",
    )
    format_learning_rate: float = Field(5e-4, gt=0, description="Their learning rate.")


class GameTeacherSettings(Settings):
    """The run's first and last verifier as teachers (needs task.run)."""

    student: str = Field(description="Name of the student.")
    objective: Literal["xent", "confidence", "product"] = Field("xent", description="Its objective.")
    items: int = Field(500, ge=4, description="Items of prover-half text (no verifier has seen it) to label, at most.")
    early_steps: int = Field(
        5,
        ge=0,
        description="Helpful text of so many first PPO steps of the first round stands for base text among them: the policy has hardly moved.",
    )


class AnswerSampling(Settings):
    """How the answers of the generative task are drawn."""

    max_new_tokens: int = Field(72, ge=1, description="Length limit of a solution.")
    temperature: float = Field(1.0, gt=0, description="Temperature of the weak model's solutions and of test answers.")


class GenerationSettings(Settings):
    """Generating answers: a strong language model fine-tuned on a weak one's solutions."""

    weak: str = Field("nano-s", description="Weak language model.")
    strong: str = Field("nano", description="Strong language model.")
    prompts: str = Field("nano", description="Prompt set; only the helpful prompt is used.")
    problems: ProblemSettings = Field(
        default_factory=lambda: ProblemSettings(prover=400, verifier=400, validation=1, test_size=200),
        description="Half A is the verifier part, half B the prover part.",
    )
    steps: int = Field(60, ge=1, description="Optimizer steps of student and ceiling.")
    weak_steps: int | None = Field(None, ge=1, description="Optimizer steps of the weak model (null: as many).")
    batch_size: int = Field(16, ge=1, description="Solutions per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate.")
    weak_learning_rate: float | None = Field(None, gt=0, description="The weak model's (null: the same).")
    max_length: int = Field(256, ge=16, description="Longest prompt plus solution.")
    sampling: AnswerSampling = Field(default_factory=AnswerSampling)


class Combination(NamedTuple):
    """One student of the grid, by the names of what it is made of."""

    weak: str
    strong: str
    objective: str
    teacher: str = SINGLE
    oversight: str = ALONE


class ExperimentSettings(Settings):
    """A whole experiment."""

    renamed: ClassVar[Mapping[str, str]] = {
        "workers": "parallel",
        "generation.max_new_tokens": "generation.sampling.max_new_tokens",
        "generation.temperature": "generation.sampling.temperature",
    }

    seeds: list[int] = Field(
        [0, 1, 2], min_length=1, description="Seeds: halves, training order, heads; the test items stay."
    )
    task: Task = Field(default_factory=SolutionsTask, description="What is classified.")
    parts: PartSizes = Field(default_factory=PartSizes)
    models: dict[str, ModelSettings] = Field(
        min_length=1, description="Name -> model. Order: weakest first (for bootstrapping)."
    )
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    confidence: ConfidenceSettings = Field(default_factory=ConfidenceSettings)
    product: ProductSettings = Field(default_factory=ProductSettings)
    teachers: dict[str, TeacherSettings] = Field(default_factory=dict, description="Name -> ensemble teacher.")
    oversight: dict[str, OversightSettings] = Field(default_factory=dict, description="Name -> oversight.")
    assistant: AssistantSettings = Field(default_factory=AssistantSettings)
    grid: list[GridBlock] = Field(min_length=1, description="Blocks of combinations to run.")
    auto_aligner: AutoAlignerSettings | None = Field(None, description="Recursive auto-aligner (null: none).")
    in_context: InContextSettings | None = Field(None, description="In-context weak-to-strong (null: none).")
    game_teacher: GameTeacherSettings | None = Field(
        None, description="First against last verifier as teacher (null: none)."
    )
    generation: GenerationSettings | None = Field(None, description="The generative task (null: none).")
    steps_between: list[str] | None = Field(
        None,
        description="Models bootstrapping may pass through, where they stand between its two ends (null: the grid's students).",
    )
    bootstrap: int = Field(1000, ge=10, description="Resamples (test problems and seeds) per interval.")
    confidence_level: float = Field(0.95, gt=0, lt=1, description="Confidence level of every interval.")
    parallel: int = Field(
        1, ge=1, description="Cells trained side by side, a process of one thread each; results do not depend on it."
    )
    compute: ComputeSettings = Field(default_factory=ComputeSettings)

    @model_validator(mode="after")
    def _names_exist(self) -> ExperimentSettings:
        models = list(self.models)
        for block in self.grid:
            _known("grid.weak/strong", [*block.weak, *block.strong], models, "models")
            _known("grid.teachers", block.teachers, [SINGLE, *self.teachers], "teachers")
            _known("steps_between", self.steps_between or [], models, "models")
            _known("grid.oversight", block.oversight, [ALONE, *self.oversight], "oversight")
        others = [self.in_context.weak] if self.in_context else []
        others += [self.game_teacher.student] if self.game_teacher else []
        aligner = self.auto_aligner.generations if self.auto_aligner else []
        _known("auto_aligner.generations", aligner, models, "models")
        _known("in_context.weak or game_teacher.student", others, models, "models")
        if SINGLE in self.teachers or ALONE in self.oversight:
            raise ValueError(f'the names "{SINGLE}" and "{ALONE}" are taken')
        return self

    @model_validator(mode="after")
    def _fits_the_task(self) -> ExperimentSettings:
        if self.game_teacher and self.run is None:
            raise ValueError("game_teacher needs task.run: a run folder with at least two rounds")
        if self.oversight and self.task.kind != "solutions":
            raise ValueError("oversight needs task.kind solutions")
        return self

    @model_validator(mode="after")
    def _grid_can_be_trained(self) -> ExperimentSettings:
        for block in self.grid:
            ensembles = {name: self.teachers[name] for name in block.teachers if name != SINGLE}
            cut = [name for name, t in ensembles.items() if (t.over, t.learner) == ("layers", "probe")]
            if cut and any(self.models[w].head != "last_token" for w in block.weak):
                raise ValueError(
                    f"grid: teacher {cut[0]!r} probes layers, which needs weak models with head: last_token"
                )
            for name in block.strong:
                if self.models[name].train == "probe" and set(block.objectives) - {"probe"}:
                    raise ValueError(f"grid: {name!r} has train: probe, so its only objective is probe")
        return self

    @property
    def run(self) -> str | None:
        """The run folder whose text is classified, if any."""
        return self.task.run if isinstance(self.task, TextTask) else None

    def combinations(self) -> list[Combination]:
        """The students of all blocks, once each, in order."""
        every = (product(b.weak, b.strong, b.objectives, b.teachers, b.oversight) for b in self.grid)
        return list(dict.fromkeys(Combination(*c) for block in every for c in block))


def _known(field: str, names: Sequence[str], known: Sequence[str], section: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{field}: {name!r} is not defined under {section}; known: {', '.join(known)}")
