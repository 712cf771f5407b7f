"""The numbers of the summary, against the stored log-odds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from legibility.game.run_folder import RunFolder
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.items import labels


def test_numbers_are_those_of_the_stored_logits(finished, tiny_experiment):
    summary = json.loads((finished / "summary.json").read_text())
    experiment = Experiment(ExperimentSettings.model_validate(tiny_experiment), RunFolder(finished), None)
    truth = labels(experiment.parts(0).test)
    assert [x.id for x in experiment.parts(0).test] == [x.id for x in experiment.parts(1).test]
    assert truth.mean() == 0.5
    rights = []
    for seed in (0, 1):
        with np.load(finished / f"cells/seed-{seed}/student/bytes-big/product/single+none/logits.npz") as arrays:
            rights.append((arrays["test"][-1] > 0) == truth)
    entry = next(s for s in summary["students"] if s["objective"] == "product")
    assert entry["accuracy"]["value"] == pytest.approx(np.mean(rights))
    groups = {
        p: {x.group for x in getattr(experiment.parts(0), p)}
        for p in ("weak", "student", "trusted", "validation", "test")
    }
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
