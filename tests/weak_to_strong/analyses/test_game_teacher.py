"""The game's verifiers as teachers: the items, and runs that do not serve."""

from __future__ import annotations

import shutil

import pytest

from legibility.errors import UserError
from legibility.game.run_folder import RunFolder
from legibility.weak_to_strong.analyses.game_teacher import SETS, Labeller, check_run, game_teacher_cell
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_schema import read_summary
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.items import labels


@pytest.fixture
def experiment(finished, tiny_experiment) -> Experiment:
    return Experiment(ExperimentSettings.model_validate(tiny_experiment), RunFolder(finished), None)


def test_items_are_balanced_and_of_the_held_out_parts(experiment, tiny_run):
    game = check_run(experiment)
    assert game.rounds == (0, tiny_run.rounds()[-1]) and set(game.tested) == set(SETS)
    frame = experiment.texts.frame
    for items, split in (
        (game.tested["base"], "test"),
        (game.tested["sneaky"], "test"),
        (game.calibration, "validation"),
    ):
        assert labels(items).mean() == 0.5
        assert {x.group for x in items} <= set(frame[frame.split == split].problem_id)
    assert {x.source for x in game.tested["sneaky"]} == {f"sneaky {game.rounds[1]}"}


def test_the_summarys_label_accuracy_is_that_of_the_cells(experiment, finished):
    section = read_summary(finished).game_teacher
    infos = [game_teacher_cell(experiment, seed).info for seed in (0, 1)]
    assert section is not None and section.student_items == infos[0].items
    for index in section.rounds:
        assert section.label_accuracy[index] == pytest.approx(sum(i.label_accuracy[index] for i in infos) / 2)


def test_arrays_are_named_by_who_labels_which_text(experiment):
    names = [Labeller("verifier", 1).array("base"), Labeller("ceiling").array("sneaky")]
    assert names == ["verifier 1 base", "ceiling sneaky"]  # as in cells that are stored
    assert set(names) < set(game_teacher_cell(experiment, 0).arrays)


def test_a_run_of_one_round_is_refused(tiny_experiment, tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    for later in tiny_run.rounds()[1:]:
        shutil.rmtree(tmp_path / f"run/rounds/{later:02d}")
    task = {**tiny_experiment["task"], "run": str(tmp_path / "run")}
    settings = ExperimentSettings.model_validate({**tiny_experiment, "task": task})
    with pytest.raises(UserError, match="1 finished rounds; comparing teachers needs at least two"):
        check_run(Experiment(settings, RunFolder(tmp_path / "out"), None))
