"""An experiment from settings to summary: prepare the text, train every cell, then the analyses. Resumable throughout.

Reads like Burns et al. 2023, Sec. 3: weak models on half A's ground truth, students on the weak labels
of half B, ceilings on half B's ground truth, all on one balanced test set.
"""

from __future__ import annotations

from pathlib import Path

import torch

from legibility.game.run_folder import RunFolder
from legibility.pasted import typed_command
from legibility.progress import Progress
from legibility.weak_to_strong.analyses.game_teacher import check_run
from legibility.weak_to_strong.cells import Cell, with_needs
from legibility.weak_to_strong.classifiers import load_classifier
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.experiment_summary import write_summary
from legibility.weak_to_strong.items import PARTS
from legibility.weak_to_strong.plan import planned_cells
from legibility.weak_to_strong.schedule import do_all, jobs
from legibility.weak_to_strong.task_settings import TextTask


def weak_to_strong(
    config: ExperimentSettings,
    out: Path,
    *,
    resume: bool = False,
    base_dir: Path | None = None,
    progress: Progress | None = None,
) -> RunFolder:
    """Run (or go on with) an experiment in folder `out`; writes summary.json there.

    Raises UserError for bad input; a folder that exists needs `resume` and the same settings.
    """
    progress = progress or Progress()
    if config.compute.threads is not None:
        torch.set_num_threads(config.compute.threads)
    experiment = _checked(config, out, base_dir)
    with RunFolder.open(out, config, resume=resume) as run:
        run.write_manifest(command=typed_command(), device=config.compute.device, seeds=config.seeds, base_dir=base_dir)
        progress.phase("text and halves", 1)
        experiment = experiment or Experiment(config, run, base_dir)
        parts = [experiment.parts(seed) for seed in config.seeds]
        progress.done(", ".join(f"{len(getattr(parts[0], p))} {p}" for p in PARTS) + " items")
        todo = jobs(experiment)
        progress.phase("cells and analyses", len(todo))
        for k, _ in enumerate(do_all(experiment, todo), start=1):
            progress.step(k, {})
        trained = sum(isinstance(job, Cell) for job in todo)
        progress.done(f"{trained} cells trained, {len(with_needs(planned_cells(config))) - trained} were there")
        write_summary(experiment)
    return run


def _checked(config: ExperimentSettings, out: Path, base_dir: Path | None) -> Experiment | None:
    """Fail on unusable models, runs and data before the folder is made.

    Returns the experiment; None where its text is still to be written, into the folder.
    """
    for settings in config.models.values():
        load_classifier(settings, "cpu", seed=0, base_dir=base_dir)
    if isinstance(config.task, TextTask) and config.task.run is None:
        return None
    experiment = Experiment(config, RunFolder(out), base_dir)
    for seed in config.seeds:
        experiment.parts(seed)
    if config.game_teacher:
        check_run(experiment)
    return experiment
