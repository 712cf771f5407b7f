"""The generative task on tiny models."""

from __future__ import annotations

import json

from legibility.weak_to_strong.experiment_run import weak_to_strong
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from tests.support import quiet
from tests.weak_to_strong.world import check_estimate


def test_a_student_of_a_weak_models_solutions_has_its_section(tiny_experiment, tiny_run, tiny_prover_dir, tmp_path):
    problems = {**tiny_run.settings()["problems"], "prover": 16, "verifier": 16, "test_size": 12}
    model = str(tiny_prover_dir)
    settings = {
        **tiny_experiment,
        "seeds": [0],
        "auto_aligner": None,
        "in_context": None,
        "game_teacher": None,
        "teachers": {},
        "oversight": {},
        "steps_between": None,
        "grid": [{"weak": ["bytes"], "strong": ["big"], "objectives": ["probe"]}],
        "generation": {
            "weak": model,
            "strong": model,
            "problems": problems,
            "steps": 2,
            "batch_size": 4,
            "sampling": {"max_new_tokens": 16},
        },
    }
    run = weak_to_strong(ExperimentSettings.model_validate(settings), tmp_path / "out", progress=quiet())
    found = json.loads((run.path / "summary.json").read_text())["generation"]
    assert 0 <= found["weak_label_accuracy"] <= 1 and found["test_problems"] == 12
    check_estimate(found["pgr"])
    assert not list(run.path.glob(".generation*"))
