"""What an experiment's cells say of its test items: tables of right answers, read from the stored log-odds.

The entries of the summary (`weak_entry`, `ceiling_entry`, `student_entry`) are made here. Headline numbers
are of the last training step. `best` is the step of greatest validation accuracy on *weak* labels, which a
user without ground truth could choose; `oracle_best` the one of greatest validation accuracy on ground
truth, which nobody could. Neither looks at the test part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from legibility.weak_to_strong.cells import Cell, CellInfo, CellResult, EnsembleInfo
from legibility.weak_to_strong.classifiers import load_classifier
from legibility.weak_to_strong.estimates import Estimator
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import (
    CeilingEntry,
    ChosenStep,
    LearningPoint,
    StudentEntry,
    StudentSizes,
    WeakEntry,
)
from legibility.weak_to_strong.experiment_settings import Combination
from legibility.weak_to_strong.items import labels
from legibility.weak_to_strong.pgr import agreement
from legibility.weak_to_strong.plan import ceiling_cell, student_cell

Results = Sequence[CellResult[CellInfo]]  # one per seed


class GridResults:
    """The cells of an experiment's grid, over its seeds. `truth` (test items,) holds the labels of the test part."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.config = experiment, experiment.config
        first = experiment.parts(self.config.seeds[0])  # validation and test are the same for every seed
        self.truth, self.validation = labels(first.test), labels(first.validation)
        self.estimator = Estimator.of(self.config, [x.group for x in first.test])
        self._sizes: dict[str, int] = {}

    def right(self, cell: Cell) -> np.ndarray:
        """Right answers on the test items, boolean (seeds, items)."""
        return self._right(self.experiment.results(cell))

    def weak_entry(self, model: str, teacher: str, oversight: str) -> WeakEntry:
        """A weak teacher of the summary."""
        results = self.experiment.results(Cell("weak", 0, (model,), teacher=teacher, oversight=oversight))
        halves = [labels(self.experiment.parts(seed).student) for seed in self.config.seeds]
        on_half = [((r.last("student") > 0) == truth).mean() for r, truth in zip(results, halves, strict=True)]
        entry = WeakEntry(
            model=model,
            teacher=teacher,
            oversight=oversight,
            parameters=self._size(model),
            accuracy=self.estimator.accuracy(self._right(results)),
            accuracy_on_student_half=float(np.mean(on_half)),
        )
        infos = [r.info for r in results if isinstance(r.info, EnsembleInfo)]
        if not infos:
            return entry
        return entry.model_copy(
            update={
                "ensemble_sizes": [i.size for i in infos],
                "validation_accuracy_by_size": [i.validation_accuracy_by_size for i in infos],
                "learner_weights": [i.learner_weights for i in infos],
                "stopped": [i.stopped for i in infos],
            }
        )

    def ceiling_entry(self, model: str, objective: str) -> CeilingEntry:
        """A ceiling of the summary."""
        cell = ceiling_cell(0, model, objective)
        return CeilingEntry(
            model=model,
            objective=cell.objective,
            parameters=self._size(model),
            accuracy=self.estimator.accuracy(self.right(cell)),
        )

    def student_entry(self, student: Combination) -> StudentEntry:
        """A student of the summary. The combination must have a cell (`plan.student_cell`)."""
        weak, strong, objective, teacher, oversight = student
        cell = student_cell(self.config, 0, student)
        assert cell is not None and cell.needs is not None
        results, taught_by = self.experiment.results(cell), self.experiment.results(cell.needs)
        supervisor = self.experiment.results(Cell("weak", 0, (weak,), teacher=teacher, oversight=oversight))
        weak_right = self.right(Cell("weak", 0, (weak,)))
        ceiling_right = self.right(ceiling_cell(0, strong, objective))
        right, supervisor_right = self._right(results), self._right(supervisor)
        estimator = self.estimator

        def chosen(points: Sequence[int]) -> ChosenStep:
            found = np.stack([(r.arrays["test"][k] > 0) == self.truth for r, k in zip(results, points, strict=True)])
            return ChosenStep(accuracy=estimator.accuracy(found), pgr=estimator.pgr(weak_right, found, ceiling_right))

        return StudentEntry(
            objective=objective,
            teacher=teacher,
            oversight=oversight,
            sizes=self._student_sizes(weak, strong, cell),
            accuracy=estimator.accuracy(right),
            pgr=estimator.pgr(weak_right, right, ceiling_right),
            pgr_over_supervisor=estimator.pgr(supervisor_right, right, ceiling_right),
            gain_over_weak=estimator.difference(right, weak_right),
            gap=estimator.difference(ceiling_right, weak_right),
            best=chosen([_agreeing(r, s.last("validation") > 0) for r, s in zip(results, taught_by, strict=True)]),
            oracle_best=chosen([_agreeing(r, self.validation) for r in results]),
            agreement=agreement(
                np.concatenate([r.last("test") > 0 for r in results]),
                np.concatenate([s.last("test") > 0 for s in supervisor]),
                np.concatenate([self.truth] * len(results)),
            ),
            curve=self._curve(results, supervisor),
        )

    def _right(self, results: Results) -> np.ndarray:
        return np.stack([(r.last("test") > 0) == self.truth for r in results])

    def _student_sizes(self, weak: str, strong: str, cell: Cell) -> StudentSizes:
        weak_parameters, strong_parameters = self._size(weak), self._size(strong)
        return StudentSizes(
            weak=weak,
            strong=strong,
            weak_parameters=weak_parameters,
            strong_parameters=strong_parameters,
            chain=list(cell.models),
            ratio=strong_parameters / weak_parameters,
        )

    def _size(self, model: str) -> int:
        """Parameters of a model of the experiment."""
        if model not in self._sizes:
            classifier = load_classifier(self.config.models[model], "cpu", seed=0, base_dir=self.experiment.base_dir)
            self._sizes[model] = sum(p.numel() for p in classifier.module.parameters())
        return self._sizes[model]

    def _curve(self, results: Results, supervisor: Results) -> list[LearningPoint]:
        """Test accuracy by share of training done, on true labels and on the supervisor's; means over seeds."""
        points, steps = [], results[0].arrays["steps"]
        for k in range(min(len(r.arrays["steps"]) for r in results)):
            tested = [r.arrays["test"][k] > 0 for r in results]
            taught = [(t == (s.last("test") > 0)).mean() for t, s in zip(tested, supervisor, strict=True)]
            points.append(
                LearningPoint(
                    step=int(steps[k]),
                    share=float(steps[k] / steps[-1]),
                    true=float(np.mean([(t == self.truth).mean() for t in tested])),
                    weak=float(np.mean(taught)),
                )
            )
        return points


def _agreeing(result: CellResult[CellInfo], wanted: np.ndarray) -> int:
    """The evaluation point whose validation labels agree best with `wanted` (items,); the first of equals."""
    return int(np.argmax(((result.arrays["validation"] > 0) == wanted).mean(1)))
