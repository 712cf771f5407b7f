"""Jobs: what is left, in what order, and side by side."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from legibility.game.run_folder import RunFolder
from legibility.weak_to_strong.cells import Cell
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_run import weak_to_strong
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.schedule import do_all, jobs
from tests.support import quiet


@pytest.mark.slow
def test_cells_trained_side_by_side_are_the_same(finished, tiny_experiment, tmp_path):
    """Two processes; slow because each imports torch."""
    config = ExperimentSettings.model_validate({**tiny_experiment, "parallel": 2, "seeds": [0]})
    weak_to_strong(config, tmp_path / "out", progress=quiet())
    name = "cells/seed-0/student/bytes-mid-big/xent/single+none/logits.npz"
    with np.load(finished / name) as one, np.load(tmp_path / "out" / name) as two:
        assert all(np.array_equal(one[k], two[k]) for k in one.files)


def test_jobs_left_and_their_order(finished, tiny_experiment, tmp_path):
    """A finished experiment has only its analyses left to look at; a lost cell is done before what learns from it."""
    copy = tmp_path / "out"
    shutil.copytree(finished, copy)
    experiment = Experiment(ExperimentSettings.model_validate(tiny_experiment), RunFolder(copy), None)
    assert not [j for j in jobs(experiment) if isinstance(j, Cell)]
    weak, near, far = (
        Cell("weak", 0, ("bytes",)),
        Cell("student", 0, ("bytes", "mid")),
        Cell("student", 0, ("bytes", "mid", "big")),
    )
    for cell in (weak, near, far):
        shutil.rmtree(copy / cell.name)
    left = jobs(experiment)
    assert left[far] == [near] and left[near] == [weak] and left[weak] == [] == left["game_teacher", 0]
    assert left["in_context", 0] == [weak] == left["auto_aligner", 0] and left["in_context", 1] == []
    done = list(do_all(experiment, left))
    assert sorted(map(str, done)) == sorted(map(str, left)) and not jobs(experiment).keys() & {weak, near, far}
    assert done.index(weak) < done.index(near) < done.index(far) and done.index(weak) < done.index(("in_context", 0))
