"""Makes summary.json of an experiment from its stored cells (`experiment_schema` says what each key means)."""

from __future__ import annotations

import json

from legibility.game.run_folder import peak_memory_mb
from legibility.stored import write_stored
from legibility.weak_to_strong.analyses.registry import ANALYSES, wanted
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import ExperimentSummary, SkippedStudent
from legibility.weak_to_strong.experiment_settings import ALONE, SINGLE
from legibility.weak_to_strong.grid_results import GridResults
from legibility.weak_to_strong.items import PARTS
from legibility.weak_to_strong.plan import ceiling_cell, student_cell
from legibility.weak_to_strong.task_settings import TextTask


def write_summary(experiment: Experiment) -> ExperimentSummary:
    """Compute and write summary.json from the stored cells (what is not there is trained now)."""
    config, run = experiment.config, experiment.run
    results = GridResults(experiment)
    combinations = config.combinations()
    skipped = [c for c in combinations if student_cell(config, 0, c) is None]
    plain = [(c.weak, SINGLE, ALONE) for c in combinations]
    teachers = [(c.weak, c.teacher, c.oversight) for c in combinations]
    ceilings = [ceiling_cell(0, c.strong, c.objective) for c in combinations]
    first = experiment.parts(config.seeds[0])
    sections = {name: ANALYSES[name].summary(experiment, results) for name in wanted(config)}
    summary = ExperimentSummary(
        name=run.path.resolve().name,
        task=config.task.kind,
        text=(config.task.run or config.task.writer) if isinstance(config.task, TextTask) else None,
        seeds=config.seeds,
        items={p: len(getattr(first, p)) for p in PARTS},
        test_groups=len({x.group for x in first.test}),
        confidence_level=config.confidence_level,
        weak=[results.weak_entry(*teacher) for teacher in dict.fromkeys([*plain, *teachers])],
        ceiling=[results.ceiling_entry(c.models[-1], c.objective) for c in dict.fromkeys(ceilings)],
        students=[results.student_entry(c) for c in combinations if c not in skipped],
        skipped=[
            SkippedStudent(
                weak=c.weak, strong=c.strong, objective=c.objective, why="no size in between: the same as xent"
            )
            for c in skipped
        ],
        **sections,
        cpu_seconds=_cpu_seconds(experiment),
        peak_memory_mb=max([peak_memory_mb(), *(run.done_record(p).peak_memory_mb for p in run.finished_phases())]),
    )
    write_stored(run.path / "summary.json", summary)
    return summary


def _cpu_seconds(experiment: Experiment) -> float:
    """CPU seconds of every cell in the folder."""
    files = experiment.run.path.rglob("cells/**/cell.json")
    return float(sum(json.loads(f.read_text(encoding="utf-8"))["cpu_seconds"] for f in files))
