"""An experiment's jobs, each as soon as what it needs is there: one after another, or side by side in worker processes.

Processes are started once and live until the last job: starting one (importing torch and transformers,
reading the text) costs as many seconds as training a nano model. The analyses come first where they
can, since theirs are the longest jobs and would otherwise be waited for at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import torch

from legibility.game.run_folder import RunFolder
from legibility.processes import fresh_processes
from legibility.weak_to_strong.analyses.registry import ANALYSES, wanted
from legibility.weak_to_strong.cells import Cell, with_needs
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.plan import planned_cells


class AnalysisJob(NamedTuple):
    """An analysis of one seed. `name`: its section of the settings."""

    name: str
    seed: int


Job = Cell | AnalysisJob


def jobs(experiment: Experiment) -> dict[Job, list[Job]]:
    """What is still to do, and what of it each job needs."""
    settings = experiment.config
    needs: dict[Job, list[Job]] = {}
    for name in wanted(settings):
        weak = ANALYSES[name].weak(settings)
        for seed in settings.seeds:
            needs[AnalysisJob(name, seed)] = [Cell("weak", seed, (weak,))] if weak else []
    for cell, needed in with_needs(planned_cells(settings)).items():
        needs[cell] = [*needed]
    todo = {job for job in needs if not (isinstance(job, Cell) and experiment.run.is_done(job.name))}
    return {job: [n for n in needed if n in todo] for job, needed in needs.items() if job in todo}


def do_all(experiment: Experiment, needs: Mapping[Job, Sequence[Job]]) -> Iterator[Job]:
    """Do every job after what it needs; yields each when it is done."""
    order = TopologicalSorter(needs)
    parallel = experiment.config.parallel
    if parallel == 1 or len(needs) < 2:
        for job in order.static_order():
            do(experiment, job)
            yield job
        return
    order.prepare()
    start = (experiment.config, experiment.run.path, experiment.base_dir)
    running: dict[Future[None], Job] = {}
    with fresh_processes(parallel, _start_process, start) as processes:
        while order.is_active():
            running.update({processes.submit(_work, job): job for job in order.get_ready()})
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                job = running.pop(future)
                order.done(job)
                yield job


def do(experiment: Experiment, job: Job) -> None:
    """Train a cell, or compute an analysis of a seed, unless it is stored already."""
    if isinstance(job, Cell):
        experiment.cell(job)
    else:
        ANALYSES[job.name].compute(experiment, job.seed)


_EXPERIMENT: Experiment | None = None  # a process's own


def _start_process(config: ExperimentSettings, path: Path, base_dir: Path | None) -> None:
    global _EXPERIMENT
    torch.set_num_threads(1)
    _EXPERIMENT = Experiment(config, RunFolder(path), base_dir)


def _work(job: Job) -> None:
    assert _EXPERIMENT is not None
    do(_EXPERIMENT, job)
