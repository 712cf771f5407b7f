"""Whole experiments on tiny models: resume, other tasks, and bad input, refused before anything is written."""

from __future__ import annotations

import json
import shutil

import pytest

from legibility.weak_to_strong.experiment_run import weak_to_strong
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from tests.support import legibility, quiet
from tests.weak_to_strong.world import config_file


def test_a_killed_experiment_goes_on_and_ends_the_same(finished, tiny_experiment, tmp_path):
    copy = tmp_path / "out"
    shutil.copytree(finished, copy)
    kept = copy / "cells/seed-0/weak/bytes/single+none/DONE"
    before = kept.stat().st_mtime_ns
    for lost in ("cells/seed-0/student/bytes-big/xent", "cells/seed-1/weak", "summary.json"):
        shutil.rmtree(copy / lost) if (copy / lost).is_dir() else (copy / lost).unlink()
    (copy / "cells/seed-1/.weak.tmp").mkdir()  # what a kill leaves behind
    weak_to_strong(ExperimentSettings.model_validate(tiny_experiment), copy, resume=True, progress=quiet())
    assert kept.stat().st_mtime_ns == before and not (copy / "cells/seed-1/.weak.tmp").exists()
    one, two = (json.loads((f / "summary.json").read_text()) for f in (finished, copy))
    for key in ("weak", "ceiling", "students", "auto_aligner", "in_context", "game_teacher"):
        assert one[key] == two[key]


def test_existing_folder_needs_resume_and_the_same_settings(finished, tiny_experiment, tmp_path):
    again = legibility("weak-to-strong", config_file(tmp_path, tiny_experiment), "--out", finished)
    assert again.code == 2 and "--resume" in again.err and again.err.count("\n") == 1
    other = legibility(
        "weak-to-strong", config_file(tmp_path, tiny_experiment, bootstrap=30), "--out", finished, "--resume"
    )
    assert other.code == 2 and "bootstrap" in other.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": [{"weak": ["nobody"], "strong": ["big"]}]}, "'nobody' is not defined under models"),
        ({"grid": [{"weak": ["bytes"], "strong": ["big"], "teachers": ["x"]}]}, "'x' is not defined under teachers"),
        ({"task": {"kind": "solutions", "run": "nowhere"}}, "no run folder here"),
        ({"teachers": {"t": {"kind": "bagging", "over": "features"}}}, "needs learner: probe"),
        ({"training": {"epochz": 1}}, "did you mean 'epochs'"),
        (
            {
                "models": {"a": {"model": "./none"}},
                "grid": [{"weak": ["a"], "strong": ["a"]}],
                "steps_between": None,
                "auto_aligner": None,
                "in_context": None,
                "game_teacher": None,
            },
            "no folder ./none",
        ),
        ({"task": {"kind": "solutions"}}, "game_teacher needs task.run"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(tiny_experiment, tmp_path, changes, message):
    result = legibility("weak-to-strong", config_file(tmp_path, tiny_experiment, **changes), "--out", tmp_path / "out")
    assert result.code == 2 and message in result.err and result.err.count("\n") == 1, result.err
    assert not (tmp_path / "out").exists()


SMALL = {"train": {"kind": "generated", "count": 120}, "prover": 8, "verifier": 40, "validation": 12, "test_size": 12}


@pytest.mark.parametrize("task", ["preferences", "twins", "pairs", "written", "generator"])
def test_every_other_task_runs_to_its_summary(tiny_experiment, tiny_run, tiny_prover_dir, tmp_path, task):
    """Pairs of a run's completions, corrupted twins, text the prover writes now, generated text; with text-only fine-tuning first."""
    tasks = {
        "preferences": {"kind": "preferences", "run": str(tiny_run.path)},
        "twins": {"kind": "twins", "problems": SMALL},
        "pairs": {"kind": "twins", "problems": SMALL, "pairs": True},
        "written": {
            "kind": "solutions",
            "sources": ["base", "sneaky"],
            "problems": tiny_run.settings()["problems"],
            "balance": "label",
        },
        "generator": {"kind": "solutions", "writer": "generator", "problems": SMALL},
    }
    settings = {
        **tiny_experiment,
        "task": tasks[task],
        "seeds": [0],
        "auto_aligner": None,
        "in_context": None,
        "game_teacher": None,
        "parts": dict.fromkeys(("weak", "student", "trusted", "validation", "test"), 8),
        "steps_between": None,
        "oversight": {},
        "teachers": {},
        "grid": [{"weak": ["bytes"], "strong": ["big"]}],
        "training": {"epochs": 1, "batch_size": 8, "evaluations": 1, "unsupervised_steps": int(task == "twins")},
        "assistant": {"model": str(tiny_prover_dir), "max_new_tokens": 16},
    }
    if task == "pairs":
        settings["models"] = {
            **tiny_experiment["models"],
            "big": {**tiny_experiment["models"]["big"], "head": "likelihood", "epochs": 2},
        }
    run = weak_to_strong(ExperimentSettings.model_validate(settings), tmp_path / "out", progress=quiet())
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["items"]["test"] >= 4 and summary["students"][0]["accuracy"]["value"] is not None
    assert run.is_done("texts") == (task in ("written", "generator"))
    assert run.is_done("cells/seed-0/unsupervised/big") == (task == "twins")
