"""An experiment in progress: features read once, texts with and without help, results by seed."""

from __future__ import annotations

import numpy as np
import pytest

from legibility.game.run_folder import RunFolder
from legibility.weak_to_strong.cells import Cell, CellInfo, EnsembleInfo
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_settings import ExperimentSettings


@pytest.fixture(scope="module")
def experiment(finished, tiny_experiment) -> Experiment:
    return Experiment(ExperimentSettings.model_validate(tiny_experiment), RunFolder(finished), None)


def test_frozen_features_of_a_text_are_the_same_however_they_are_asked_for(experiment):
    items = experiment.parts(0).trusted
    whole = experiment.frozen("bytes", items)
    assert whole.shape[:2] == (len(items), 1)  # one layer
    assert np.array_equal(experiment.frozen("bytes", items[::-1]), whole[::-1])
    assert len(experiment._features["bytes"]) == len({(x.problem.question, x.texts) for x in items})


def test_help_stands_before_the_problem_and_changes_nothing_else(experiment):
    plain, helped = (experiment.overseen(0, "weak", name) for name in ("none", "check"))
    assert plain is experiment.parts(0).weak
    for before, after in zip(plain, helped, strict=True):
        assert after.problem.question.startswith("Help: ") and after.problem.question.endswith(before.problem.question)
        assert (after.texts, after.label, after.group) == (before.texts, before.label, before.group)


def test_results_hold_every_seed_and_what_an_ensemble_notes(experiment):
    plain = experiment.results(Cell("weak", 0, ("bytes",)))
    assert len(plain) == 2 and not np.array_equal(plain[0].last("test"), plain[1].last("test"))
    assert [type(r.info) for r in plain] == [CellInfo, CellInfo]
    bag = experiment.results(Cell("weak", 0, ("bytes",), teacher="bag"))
    assert all(isinstance(r.info, EnsembleInfo) and 1 <= r.info.size <= 2 for r in bag)
    assert all(r.info.cpu_seconds > 0 for r in [*plain, *bag])
