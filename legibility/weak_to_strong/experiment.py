"""An experiment in progress: its settings, its folder, its items by seed, and how each of its cells is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.special import expit

from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, write_solutions
from legibility.models.loading import keep_layers, load_causal, load_tokenizer, pick_device, resolve
from legibility.models.warm_start import warm_start
from legibility.problems.storage import read_problems, write_problems
from legibility.prompts import HELPFUL, SNEAKY
from legibility.randomness import derive_seed, stream
from legibility.weak_to_strong.cells import Cell, CellInfo, CellResult, EnsembleInfo, load_or, with_needs
from legibility.weak_to_strong.classifiers import features, load_classifier
from legibility.weak_to_strong.experiment_settings import ALONE, ExperimentSettings
from legibility.weak_to_strong.experiment_texts import Texts, run_texts, write_texts
from legibility.weak_to_strong.items import PARTS, Item, Parts, labels
from legibility.weak_to_strong.oversight import RoleSpeaker, overseen
from legibility.weak_to_strong.plan import planned_cells
from legibility.weak_to_strong.task_settings import TextTask
from legibility.weak_to_strong.tasks import load_items, parts_for
from legibility.weak_to_strong.teachers import Logits, train_teacher
from legibility.weak_to_strong.training import Trained, train_student

HELD_OUT = ("validation", "test")
TEXTS = "texts"


class Experiment:
    """One experiment in progress. Opening it reads the task's data, or writes the text of a task without a run."""

    def __init__(self, config: ExperimentSettings, run: RunFolder, base_dir: Path | None) -> None:
        """base_dir: what relative paths in the settings are relative to. Raises UserError for data that cannot serve."""
        self.config, self.run, self.base_dir = config, run, base_dir
        self.device = pick_device(config.compute.device)
        self._features: dict[str, dict[tuple[str, tuple[str, ...]], np.ndarray]] = {}
        self.texts = self._texts()
        self.items = load_items(config, self.texts, base_dir)
        self.parts: Callable[[int], Parts] = lru_cache(maxsize=None)(lambda seed: parts_for(config, self.items, seed))
        self._supervisors = {cell for needed in with_needs(planned_cells(config)).values() for cell in needed}

    def cell(self, cell: Cell) -> CellResult[CellInfo]:
        """A cell's result, from the folder or trained now (with what it needs)."""
        info: type[CellInfo] = EnsembleInfo if cell.is_ensemble else CellInfo
        return load_or(self.run, cell.name, info, lambda: self._compute(cell))

    def results(self, cell: Cell) -> list[CellResult[CellInfo]]:
        """The results of a cell for every seed of the experiment (its own seed does not matter)."""
        return [
            self.cell(Cell(cell.kind, seed, cell.models, cell.objective, cell.teacher, cell.oversight))
            for seed in self.config.seeds
        ]

    def train(
        self,
        cell: Cell,
        items: Sequence[Item],
        target: np.ndarray,
        watched: Mapping[str, Sequence[Item]],
        *,
        objective: str = "xent",
        weights: np.ndarray | None = None,
        member: int = 0,
        source: str | None = None,
        layers: int | None = None,
        curve: bool = True,
    ) -> Trained:
        """`train_student` with the randomness of a cell, for its last model.

        Order and head depend on seed and model only (and on the member of an ensemble), so that students of
        one size differ by what they are taught.
        """
        model = cell.models[-1]
        return train_student(
            self.config,
            model,
            items,
            target,
            watched,
            objective=objective,
            weights=weights,
            seed=derive_seed(cell.seed, "head", model, member) % 2**31,
            rng=stream(cell.seed, "order", model, member),
            device=self.device,
            base_dir=self.base_dir,
            source=source,
            layers=layers,
            frozen=lambda part: self.frozen(model, part),
            curve=curve,
        )

    def frozen(self, model: str, items: Sequence[Item]) -> np.ndarray:
        """Features (items, layers, width) of the untrained model, each text read once per process."""
        kept = self._features.setdefault(model, {})
        missing = {(x.problem.question, x.texts): x for x in items if (x.problem.question, x.texts) not in kept}
        if missing:
            classifier = load_classifier(self.config.models[model], self.device, seed=0, base_dir=self.base_dir)
            new = list(missing.values())
            kept.update(zip(missing, features(classifier, new, classifier.encode(new)), strict=True))
        return np.stack([kept[x.problem.question, x.texts] for x in items])

    def overseen(self, seed: int, part: str, name: str) -> list[Item]:
        """A part's items as a weak model with this oversight reads them."""
        items: list[Item] = getattr(self.parts(seed), part)
        if name == ALONE:
            return items
        assert self.texts is not None  # the settings allow oversight of solutions only
        speaker = RoleSpeaker({role: self.texts.solutions(role) for role in (HELPFUL, SNEAKY)})
        return overseen(self.config.oversight[name], items, speaker, stream(seed, "oversight", name, part))[0]

    # ---- how cells are made -------------------------------------------------------------------

    def _compute(self, cell: Cell) -> CellResult[CellInfo]:
        if cell.is_ensemble:
            return self._ensemble(cell)
        if cell.kind == "weak":
            return self._single(cell)
        parts = self.parts(cell.seed)
        truth = labels(parts.student).astype(float)
        target = truth if cell.needs is None else expit(self.cell(cell.needs).last("student").astype(float))
        watched = {p: getattr(parts, p) for p in (("student", *HELD_OUT) if cell in self._supervisors else HELD_OUT)}
        trained = self.train(
            cell,
            parts.student,
            target,
            watched,
            objective=cell.objective,
            source=self._adapted(cell.seed, cell.models[-1]),
        )
        return CellResult({"steps": trained.steps, **trained.logits}, CellInfo())

    def _single(self, cell: Cell) -> CellResult[CellInfo]:
        """A weak model trained on half A's truth."""
        read = {p: self.overseen(cell.seed, p, cell.oversight) for p in PARTS}
        truth = labels(self.parts(cell.seed).weak)
        trained = self.train(cell, read["weak"], truth.astype(float), read)
        return CellResult({"steps": trained.steps, **trained.logits}, CellInfo())

    def _ensemble(self, cell: Cell) -> CellResult[CellInfo]:
        """An ensemble of weak models trained on half A's truth; only its finished members count, so it has no curve."""
        read = {p: self.overseen(cell.seed, p, cell.oversight) for p in PARTS}
        parts, model = self.parts(cell.seed), cell.models[0]
        truth = {"weak": labels(parts.weak), "validation": labels(parts.validation)}

        def fit(weights: np.ndarray | None, member: int, layers: int | None) -> Logits:
            target = truth["weak"].astype(float)
            trained = self.train(
                cell, read["weak"], target, read, weights=weights, member=member, layers=layers, curve=False
            )
            return {p: x[-1] for p, x in trained.logits.items()}

        def tables() -> dict[str, np.ndarray]:
            return {p: self.frozen(model, items) for p, items in read.items()}

        ensemble = train_teacher(
            self.config.teachers[cell.teacher],
            fit,
            tables,
            load_classifier(self.config.models[model], self.device, seed=0, base_dir=self.base_dir).depth,
            truth,
            stream(cell.seed, "teacher", cell.teacher, model),
        )
        info = EnsembleInfo(
            size=ensemble.size,
            validation_accuracy_by_size=ensemble.accuracies,
            learner_weights=ensemble.weights,
            stopped=ensemble.stopped,
        )
        arrays = {p: x[None].astype(np.float32) for p, x in ensemble.logits.items()}
        return CellResult({"steps": np.array([1]), **arrays}, info)

    def _adapted(self, seed: int, model: str) -> str | None:
        """Folder of the model after generative fine-tuning on half B's text; None where the settings ask for none."""
        training, settings = self.config.training, self.config.models[model]
        if training.unsupervised_steps == 0:
            return None
        name = f"cells/seed-{seed}/unsupervised/{model}"
        if not self.run.is_done(name):
            place = resolve(settings.model, "verifier", self.base_dir)
            causal, tokenizer = load_causal(place, "float32", self.device), load_tokenizer(place, "verifier")
            if settings.layers is not None:
                keep_layers(causal, settings.layers)
            before, _, after = settings.template.partition("{solution}")
            pairs = [
                (before.replace("{problem}", x.problem.question), t + after.removesuffix(tokenizer.eos_token or ""))
                for x in self.parts(seed).student
                for t in x.texts
            ]
            with self.run.phase(name) as work:
                warm_start(
                    causal,
                    tokenizer,
                    pairs,
                    out=work / "model",
                    steps=training.unsupervised_steps,
                    batch_size=training.batch_size,
                    learning_rate=training.unsupervised_learning_rate,
                    max_length=settings.max_length,
                    seed=derive_seed(seed, "unsupervised", model) % 2**31,
                    device=self.device,
                )
        return str(self.run.verified(name) / "model")

    def _texts(self) -> Texts | None:
        """What a task on solutions reads, from its run or from the experiment's own folder (written first if need be)."""
        task = self.config.task
        if not isinstance(task, TextTask):
            return None
        if task.run is not None:
            return run_texts((self.base_dir or Path()) / Path(task.run).expanduser())
        if not self.run.is_done(TEXTS):
            fresh = write_texts(self.config, task, self.base_dir, self.device)
            with self.run.phase(TEXTS) as work:
                write_solutions(work / "solutions.parquet", fresh.rows)
                write_solutions(work / "assistant.parquet", fresh.spoken)
                write_problems(work / "problems.jsonl", fresh.splits)
        folder = self.run.verified(TEXTS)
        return Texts(
            read_solutions(folder / "solutions.parquet"),
            read_solutions(folder / "assistant.parquet"),
            read_problems(folder / "problems.jsonl"),
        )
