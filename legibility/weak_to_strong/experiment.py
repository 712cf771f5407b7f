"""An experiment in progress: its settings, its folder, its items by seed, and how each of its cells is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from legibility.game.run_folder import RunFolder
from legibility.game.solutions import read_solutions, write_solutions
from legibility.models.loading import load_causal, load_tokenizer, pick_device, resolve
from legibility.models.verifier import keep_layers
from legibility.models.warm_start import warm_start
from legibility.problems.storage import read_problems, write_problems
from legibility.randomness import derive_seed, stream
from legibility.weak_to_strong.cells import Cell, Result, load_or, with_needs
from legibility.weak_to_strong.classifiers import features, load_classifier
from legibility.weak_to_strong.experiment_settings import (
    ALONE,
    SINGLE,
    ExperimentSettings,
    PreferencesTask,
    SolutionsTask,
)
from legibility.weak_to_strong.experiment_texts import Texts, run_texts, write_texts
from legibility.weak_to_strong.items import PARTS, Item, Parts, labels
from legibility.weak_to_strong.oversight import RoleSpeaker, overseen
from legibility.weak_to_strong.tasks import load_pools, parts_for
from legibility.weak_to_strong.teachers import train_teacher
from legibility.weak_to_strong.training import Trained, train_student

HELD_OUT = ("validation", "test")
TEXTS = "texts"


class Experiment:
    """One experiment in progress: its settings, folder, and items by seed."""

    def __init__(self, config: ExperimentSettings, run: RunFolder, base_dir: Path | None) -> None:
        self.config, self.run, self.base_dir = config, run, base_dir
        self.device = pick_device(config.compute.device)
        self._features: dict[str, dict[Any, np.ndarray]] = {}
        self.texts = self._texts()
        self.pools = load_pools(config, self.texts, base_dir)
        self.parts = lru_cache(maxsize=None)(lambda seed: parts_for(config, self.pools, seed))
        self.supervisors = {cell for needed in with_needs(self.cells()).values() for cell in needed}

    def _texts(self) -> Texts | None:
        task = self.config.task
        if not isinstance(task, (SolutionsTask, PreferencesTask)):
            return None
        if task.run is not None:
            return run_texts((self.base_dir or Path()) / Path(task.run).expanduser())
        if not self.run.is_done(TEXTS):
            judged, spoken, splits = write_texts(self.config, self.base_dir, self.device)
            with self.run.phase(TEXTS) as work:
                write_solutions(work / "solutions.parquet", judged)
                write_solutions(work / "assistant.parquet", spoken)
                write_problems(work / "problems.jsonl", splits)
        folder = self.run.verified(TEXTS)
        return Texts(
            read_solutions(folder / "solutions.parquet"),
            read_solutions(folder / "assistant.parquet"),
            read_problems(folder / "problems.jsonl"),
        )

    # ---- cells --------------------------------------------------------------------------------

    def cell(self, cell: Cell) -> Result:
        """A cell's result, from the folder or trained now (with what it needs)."""
        return load_or(self.run, cell.name, lambda: self._compute(cell))

    def _compute(self, cell: Cell) -> Result:
        parts = self.parts(cell.seed)
        if cell.kind == "weak":
            arrays, info = self._weak(cell, parts)
        else:
            truth = labels(parts.student).astype(float)
            target = truth if cell.needs is None else expit(self.cell(cell.needs).last("student").astype(float))
            objective = "xent" if cell.objective == "bootstrapping" else cell.objective
            watched = {p: getattr(parts, p) for p in (("student", *HELD_OUT) if cell in self.supervisors else HELD_OUT)}
            trained = self.train(
                cell,
                parts.student,
                target,
                watched,
                objective=objective,
                source=self._adapted(cell.seed, cell.models[-1]),
            )
            arrays, info = {"steps": trained.steps, **trained.logits}, {}
        return Result(arrays, info)

    def train(
        self, cell: Cell, items: Sequence[Item], target: np.ndarray, watched: dict[str, list[Item]], **options: Any
    ) -> Trained:
        """`train_student` with the randomness of a cell. Order and head depend on seed and model only, so that
        students of one size differ by what they are taught."""
        member, model = options.pop("member", 0), cell.models[-1]
        return train_student(
            self.config,
            model,
            items,
            target,
            watched,
            seed=derive_seed(cell.seed, "head", model, member) % 2**31,
            rng=stream(cell.seed, "order", model, member),
            device=self.device,
            base_dir=self.base_dir,
            frozen=lambda part: self.frozen(model, part),
            **options,
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

    def _weak(self, cell: Cell, parts: Parts) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        read = {p: self.overseen(cell.seed, p, cell.oversight) for p in PARTS}
        truth = {p: labels(getattr(parts, p)) for p in ("weak", "validation")}

        def fit(weights: np.ndarray | None, member: int, layers: int | None) -> Trained:
            target = truth["weak"].astype(float)
            alone = cell.teacher == SINGLE  # an ensemble is made of finished members
            return self.train(
                cell, read["weak"], target, read, weights=weights, member=member, layers=layers, curve=alone
            )

        if cell.teacher == SINGLE:
            trained = fit(None, 0, None)
            return {"steps": trained.steps, **trained.logits}, {}
        settings = self.config.models[cell.models[0]]
        classifier = load_classifier(settings, self.device, seed=0, base_dir=self.base_dir)
        depth = self._depth(classifier)

        def tables() -> dict[str, np.ndarray]:
            return {p: self.frozen(cell.models[0], items) for p, items in read.items()}

        ensemble = train_teacher(
            self.config.teachers[cell.teacher],
            lambda w, m, d: {p: x[-1] for p, x in fit(w, m, d).logits.items()},
            tables,
            depth,
            truth,
            stream(cell.seed, "teacher", cell.teacher, cell.models[0]),
        )
        info = {
            "size": ensemble.size,
            "validation_accuracy_by_size": ensemble.accuracies,
            "learner_weights": ensemble.weights,
            "stopped": ensemble.stopped,
        }
        return {"steps": np.array([1]), **{p: x[None].astype(np.float32) for p, x in ensemble.logits.items()}}, info

    def overseen(self, seed: int, part: str, name: str) -> list[Item]:
        """A part's items as a judge with this oversight reads them."""
        items = getattr(self.parts(seed), part)
        if name == ALONE:
            return items
        assert self.texts is not None
        speaker = RoleSpeaker({role: self.texts.solutions(role) for role in ("helpful", "sneaky")})
        return overseen(self.config.oversight[name], items, speaker, stream(seed, "oversight", name, part))[0]

    def _adapted(self, seed: int, model: str) -> str | None:
        """Folder of the model after generative fine-tuning on half B's text, or None where the experiment has none."""
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

    @staticmethod
    def _depth(classifier: Any) -> int:
        model = classifier.verifier.model if hasattr(classifier, "verifier") else classifier.prover.model
        return int(model.config.num_hidden_layers)

    # ---- the plan -----------------------------------------------------------------------------

    def chain(self, weak: str, strong: str) -> tuple[str, ...]:
        """The bootstrapping path: what `steps_between` allows and stands between the two in `models`, in that order."""
        allowed = self.config.steps_between
        names, students = (
            list(self.config.models),
            {s for b in self.config.grid for s in b.strong} if allowed is None else allowed,
        )
        first, last = names.index(weak), names.index(strong)
        return (weak, *(n for n in names[first + 1 : max(first + 1, last)] if n in students), strong)

    def student_cell(
        self, seed: int, weak: str, strong: str, objective: str, teacher: str = SINGLE, oversight: str = ALONE
    ) -> Cell | None:
        """The cell of a combination; None for bootstrapping without a size in between (it would be xent)."""
        chain = self.chain(weak, strong) if objective == "bootstrapping" else (weak, strong)
        if objective == "bootstrapping" and len(chain) == 2:
            return None
        return Cell("student", seed, chain, "xent" if objective == "bootstrapping" else objective, teacher, oversight)

    def cells(self) -> list[Cell]:
        """Every cell the grid and the auto-aligner's comparisons need, but for what those need themselves."""
        wanted: list[Cell] = []
        combinations = self.config.combinations()
        if self.config.auto_aligner:
            first, *_, last = self.config.auto_aligner.generations
            combinations += [(first, last, o, SINGLE, ALONE) for o in ("xent", "bootstrapping")]
        for seed in self.config.seeds:
            for weak, strong, objective, teacher, oversight in combinations:
                student = self.student_cell(seed, weak, strong, objective, teacher, oversight)
                wanted += [student] if student else []
                wanted.append(Cell("weak", seed, (weak,)))
                wanted.append(Cell("ceiling", seed, (strong,), "probe" if objective == "probe" else "xent"))
            if self.config.in_context:
                wanted.append(Cell("weak", seed, (self.config.in_context.weak,)))
        return list(dict.fromkeys(wanted))
