"""summary.json of an experiment: accuracies, PGR, agreement and curves, with intervals, from the stored log-odds.

`pgr` is against the plain weak model (single teacher, no oversight), so that teachers and oversight are
compared by one measure; `pgr_over_supervisor` is against the labels the student actually learned from.
Headline figures are of the last step. `best` is the step of greatest validation accuracy on *weak* labels,
which a user without ground truth could choose; `oracle_best` the one of greatest validation accuracy on
ground truth, which nobody could. Neither looks at the test part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from legibility.files import write_json
from legibility.game.run_folder import peak_memory_mb
from legibility.metrics import number
from legibility.randomness import stream
from legibility.weak_to_strong.analyses.registry import ANALYSES, wanted
from legibility.weak_to_strong.cells import Cell, Result
from legibility.weak_to_strong.classifiers import load_classifier
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_page import SCHEMA
from legibility.weak_to_strong.experiment_settings import ALONE, SINGLE
from legibility.weak_to_strong.items import PARTS, labels
from legibility.weak_to_strong.pgr import agreement, crossed_bootstrap, pgr_estimate


def write_summary(experiment: Experiment) -> dict[str, Any]:
    """Compute and write summary.json from the stored cells (what is not there is trained now)."""
    config, run = experiment.config, experiment.run
    tables = _Tables(experiment)
    combinations = config.combinations()
    skipped = [
        {"weak": w, "strong": s, "objective": o, "why": "no size in between: the same as xent"}
        for w, s, o, t, v in combinations
        if experiment.student_cell(0, w, s, o, t, v) is None
    ]
    students = [tables.student(*c) for c in combinations if experiment.student_cell(0, *c) is not None]
    supervisors = dict.fromkeys((w, t, v) for w, _, _, t, v in combinations)
    supervisors = dict.fromkeys([*((w, SINGLE, ALONE) for w, *_ in combinations), *supervisors])
    ceilings = dict.fromkeys((s, "probe" if o == "probe" else "xent") for _, s, o, _, _ in combinations)
    first = experiment.parts(config.seeds[0])
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "study": run.path.resolve().name,
        "task": config.task.kind,
        "text": getattr(config.task, "run", None) or getattr(config.task, "writer", None),
        "seeds": config.seeds,
        "items": {p: len(getattr(first, p)) for p in PARTS},
        "test_groups": len({x.group for x in first.test}),
        "confidence_level": config.confidence_level,
        "weak": [tables.weak(*s) for s in supervisors],
        "ceiling": [tables.ceiling(*c) for c in ceilings],
        "students": students,
        "skipped": skipped,
        **dict.fromkeys(ANALYSES),
    }
    summary.update({name: ANALYSES[name].summary(experiment, tables) for name in wanted(config)})
    cells = [json.loads(f.read_text(encoding="utf-8")) for f in run.path.rglob("cells/**/cell.json")]
    summary["cpu_seconds"] = float(sum(c["cpu_seconds"] for c in cells))
    summary["peak_memory_mb"] = max(
        [peak_memory_mb(), *(run.done_record(p).peak_memory_mb for p in run.finished_phases())]
    )
    write_json(run.path / "summary.json", summary)
    return summary


class _Tables:
    """Tables (seeds, test items) of right answers, and what is said of them."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment, self.config = experiment, experiment.config
        self._sizes: dict[str, int] = {}
        test = experiment.parts(self.config.seeds[0]).test
        self.truth, self.groups = labels(test), [x.group for x in test]
        self.validation = labels(experiment.parts(self.config.seeds[0]).validation)

    # ---- entries of the summary ---------------------------------------------------------------

    def weak(self, model: str, teacher: str, oversight: str) -> dict[str, Any]:
        results = self.results(Cell("weak", 0, (model,), teacher=teacher, oversight=oversight))
        entry = {"model": model, "teacher": teacher, "oversight": oversight, "parameters": self.size(model)}
        entry["accuracy"] = self.accuracy(self.right(results))
        entry["accuracy_on_student_half"] = float(
            np.mean(
                [
                    ((r.last("student") > 0) == labels(self.experiment.parts(seed).student)).mean()
                    for r, seed in zip(results, self.config.seeds, strict=True)
                ]
            )
        )
        if teacher != SINGLE:
            entry["ensemble_sizes"] = [r.info["size"] for r in results]
            entry["validation_accuracy_by_size"] = [r.info["validation_accuracy_by_size"] for r in results]
            entry["learner_weights"] = [r.info["learner_weights"] for r in results]
            entry["stopped"] = [r.info["stopped"] for r in results]
        return entry

    def ceiling(self, model: str, objective: str) -> dict[str, Any]:
        results = self.results(Cell("ceiling", 0, (model,), objective))
        return {
            "model": model,
            "objective": objective,
            "parameters": self.size(model),
            "accuracy": self.accuracy(self.right(results)),
        }

    def student(self, weak: str, strong: str, objective: str, teacher: str, oversight: str) -> dict[str, Any]:
        cell = self.experiment.student_cell(0, weak, strong, objective, teacher, oversight)
        assert cell is not None and cell.needs is not None
        results, taught_by = self.results(cell), self.results(cell.needs)
        labelled_by = Cell("weak", 0, (weak,), teacher=teacher, oversight=oversight)
        plain, supervisor = self.results(Cell("weak", 0, (weak,))), self.results(labelled_by)
        ceilings = self.results(Cell("ceiling", 0, (strong,), "probe" if objective == "probe" else "xent"))
        right, best, oracle = self.right(results), [], []
        for r, s in zip(results, taught_by, strict=True):
            on_validation = r.arrays["validation"] > 0
            weak_labels = s.last("validation") > 0
            best.append(int(np.argmax((on_validation == weak_labels).mean(1))))
            oracle.append(int(np.argmax((on_validation == self.validation).mean(1))))
        tested = [r.arrays["test"] > 0 for r in results]
        at_best = np.stack([t[k] == self.truth for t, k in zip(tested, best, strict=True)])
        at_oracle = np.stack([t[k] == self.truth for t, k in zip(tested, oracle, strict=True)])
        sizes = {
            "weak": weak,
            "strong": strong,
            "weak_parameters": self.size(weak),
            "strong_parameters": self.size(strong),
            "chain": list(cell.models),
        }
        sizes["ratio"] = sizes["strong_parameters"] / sizes["weak_parameters"]
        weak_right, ceiling_right = self.right(plain), self.right(ceilings)
        flat = [
            np.concatenate(x)
            for x in (
                [r.last("test") > 0 for r in results],
                [s.last("test") > 0 for s in supervisor],
                [self.truth] * len(results),
            )
        ]
        return {
            "objective": objective,
            "teacher": teacher,
            "oversight": oversight,
            "sizes": sizes,
            "accuracy": self.accuracy(right),
            "pgr": self.pgr(weak_right, right, ceiling_right),
            "pgr_over_supervisor": self.pgr(self.right(supervisor), right, ceiling_right),
            "gain_over_weak": self.difference(right, weak_right),
            "gap": self.difference(ceiling_right, weak_right),
            "best": {"accuracy": self.accuracy(at_best), "pgr": self.pgr(weak_right, at_best, ceiling_right)},
            "oracle_best": {
                "accuracy": self.accuracy(at_oracle),
                "pgr": self.pgr(weak_right, at_oracle, ceiling_right),
            },
            "agreement": agreement(*flat),
            "curve": self._curve(results, supervisor),
        }

    # ---- helpers ------------------------------------------------------------------------------

    def results(self, cell: Cell) -> list[Result]:
        """The cell of every seed."""
        return [
            self.experiment.cell(Cell(cell.kind, s, cell.models, cell.objective, cell.teacher, cell.oversight))
            for s in self.config.seeds
        ]

    def right(self, results: Sequence[Result]) -> np.ndarray:
        return np.stack([(r.last("test") > 0) == self.truth for r in results])

    def accuracy(self, right: np.ndarray) -> dict[str, float | None]:
        return self._interval({"x": right}, lambda m: m["x"])

    def difference(self, one: np.ndarray, other: np.ndarray) -> dict[str, float | None]:
        return self._interval({"a": one, "b": other}, lambda m: m["a"] - m["b"])

    def pgr(self, weak: np.ndarray, student: np.ndarray, ceiling: np.ndarray) -> dict[str, Any]:
        return pgr_estimate(weak, student, ceiling, self.groups, **self._resampling())

    def _interval(self, tables, statistic) -> dict[str, float | None]:
        return crossed_bootstrap(tables, self.groups, statistic, **self._resampling())[0]

    def _resampling(self) -> dict[str, Any]:
        return {
            "resamples": self.config.bootstrap,
            "confidence": self.config.confidence_level,
            "rng": stream("study bootstrap"),
        }

    def size(self, model: str) -> int:
        """Parameters of a model of the experiment."""
        if model not in self._sizes:
            classifier = load_classifier(self.config.models[model], "cpu", seed=0, base_dir=self.experiment.base_dir)
            self._sizes[model] = sum(p.numel() for p in classifier.module.parameters())
        return self._sizes[model]

    def _curve(self, results: Sequence[Result], supervisor: Sequence[Result]) -> list[dict[str, float | None]]:
        """Test accuracy by share of training done, on true labels and on the supervisor's; means over seeds."""
        points = []
        for k in range(min(len(r.arrays["steps"]) for r in results)):
            tested = [r.arrays["test"][k] > 0 for r in results]
            points.append(
                {
                    "step": int(results[0].arrays["steps"][k]),
                    "share": float(results[0].arrays["steps"][k] / results[0].arrays["steps"][-1]),
                    "true": number(float(np.mean([(t == self.truth).mean() for t in tested]))),
                    "weak": number(
                        float(
                            np.mean(
                                [(t == (s.last("test") > 0)).mean() for t, s in zip(tested, supervisor, strict=True)]
                            )
                        )
                    ),
                }
            )
        return points
