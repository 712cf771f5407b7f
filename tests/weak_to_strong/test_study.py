"""A whole experiment on tiny models: command, resume, summary, report; and bad input, refused before anything is written."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from legibility.config_file import load_config
from legibility.game.run_folder import RunFolder
from legibility.problems.records import Problem
from legibility.weak_to_strong.cells import Cell, with_needs
from legibility.weak_to_strong.classifiers import load_classifier
from legibility.weak_to_strong.experiment import Experiment
from legibility.weak_to_strong.experiment_run import weak_to_strong
from legibility.weak_to_strong.experiment_settings import ExperimentSettings, ModelSettings
from legibility.weak_to_strong.items import Item
from legibility.weak_to_strong.schedule import do_all, jobs
from tests.support import ROOT, legibility, quiet


@pytest.fixture(scope="session")
def tiny_experiment(tiny_run, tiny_prover_dir, tiny_verifier_dir) -> dict:
    """Settings of an experiment of seconds on the tiny game's stored text, everything switched on once."""
    models = {
        "bytes": {"model": str(tiny_verifier_dir), "learning_rate": 3e-3},
        "mid": {"model": str(tiny_prover_dir), "layers": 1, "learning_rate": 3e-3},
        "big": {
            "model": str(tiny_prover_dir),
            "head": "surprisal",
            "template": "<|helpful|>{problem}<|solution|>{solution}<|end|>",
        },
    }
    return {
        "seeds": [0, 1],
        "task": {"kind": "solutions", "run": str(tiny_run.path), "balance": "label"},
        "parts": {"weak": 24, "student": 24, "trusted": 12, "validation": 16, "test": 24},
        "models": models,
        "training": {"epochs": 1, "batch_size": 8, "evaluations": 2},
        "teachers": {
            "bag": {"kind": "bagging", "members": 2},
            "boost": {"kind": "adaboost", "members": 2, "learner": "probe"},
        },
        "oversight": {"debate": {"kind": "debate"}, "check": {"kind": "interaction", "help": "step_check"}},
        "grid": [
            {
                "weak": ["bytes"],
                "strong": ["big"],
                "objectives": ["xent", "confidence", "product", "bootstrapping", "probe"],
            },
            {"weak": ["bytes"], "strong": ["mid"], "objectives": ["bootstrapping"]},  # nothing in between
            {"weak": ["bytes"], "strong": ["big"], "teachers": ["bag", "boost"], "oversight": ["none", "debate"]},
            {"weak": ["bytes"], "strong": ["big"], "oversight": ["check"]},
        ],
        "steps_between": ["mid"],
        "auto_aligner": {"generations": ["bytes", "mid", "big"], "stop": False},
        "in_context": {
            "model": str(tiny_prover_dir),
            "weak": "bytes",
            "demonstrations": 2,
            "queries": 6,
            "format_steps": 1,
        },
        "game_teacher": {"student": "big", "items": 16},
        "bootstrap": 20,
        "compute": {"threads": 1, "device": "cpu"},
    }


def config_file(folder: Path, settings: dict, **changes) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump({**settings, **changes}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(tiny_experiment, tmp_path_factory) -> Path:
    """The folder of a finished tiny experiment, run by the command. Read only."""
    folder = tmp_path_factory.mktemp("experiment")
    result = legibility("weak-to-strong", config_file(folder, tiny_experiment), "--out", folder / "out")
    assert result.code == 0, result.err
    return folder / "out"


def estimates(value: dict) -> None:
    assert {"value", "low", "high"} <= set(value)
    if value["value"] is None:
        assert value["undefined"]
    else:
        assert value["low"] <= value["high"]


def test_summary_has_everything(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert {"weak", "ceiling", "students"} <= set(summary)
    for s in summary["students"]:
        assert {"objective", "teacher", "oversight", "sizes", "accuracy", "pgr"} <= set(s)
        estimates(s["pgr"])
        estimates(s["best"]["pgr"])
        assert 0 <= s["accuracy"]["low"] <= s["accuracy"]["value"] <= s["accuracy"]["high"] <= 1
        assert s["curve"][-1]["share"] == 1
        assert (len(s["curve"]) == 2) == (s["objective"] != "probe")
    combinations = {(s["objective"], s["teacher"], s["oversight"]) for s in summary["students"]}
    assert {
        ("xent", "bag", "debate"),
        ("xent", "boost", "none"),
        ("xent", "single", "check"),
        ("bootstrapping", "single", "none"),
    } <= combinations
    chains = {tuple(s["sizes"]["chain"]) for s in summary["students"] if s["objective"] == "bootstrapping"}
    assert chains == {("bytes", "mid", "big")} and summary["skipped"][0]["strong"] == "mid"
    assert summary["auto_aligner"]["drift"][0]["agreement_with_generation_0"] == 1
    assert [s["text"] for s in summary["game_teacher"]["sets"]] == ["base", "sneaky"]
    assert len(summary["in_context"]["rows"]) == 7 and all(0 <= r["auroc"] <= 1 for r in summary["in_context"]["rows"])
    assert summary["in_context"]["reading"] == "raw"  # lessons were given
    assert "one_jump_calibrated" in summary["auto_aligner"]


def test_numbers_are_those_of_the_stored_logits(finished, tiny_experiment):
    from legibility.weak_to_strong.items import labels

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


def test_report_and_figures(finished):
    page = (finished / "report.html").read_text()
    assert (
        "Weak teachers and ceilings" in page
        and "The game as a teacher" in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert {p.name for p in (finished / "figures").iterdir()} == {"pgr.png", "curves.png", "drift.png"}


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


@pytest.mark.slow
def test_workers_change_nothing(finished, tiny_experiment, tmp_path):
    """Two processes; slow because each imports torch."""
    config = ExperimentSettings.model_validate({**tiny_experiment, "workers": 2, "seeds": [0]})
    weak_to_strong(config, tmp_path / "out", progress=quiet())
    name = "cells/seed-0/student/bytes-mid-big/xent/single+none/logits.npz"
    with np.load(finished / name) as one, np.load(tmp_path / "out" / name) as two:
        assert all(np.array_equal(one[k], two[k]) for k in one.files)


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
def test_bad_settings(tiny_experiment, tmp_path, changes, message):
    result = legibility("weak-to-strong", config_file(tmp_path, tiny_experiment, **changes), "--out", tmp_path / "out")
    assert result.code == 2 and message in result.err and result.err.count("\n") == 1, result.err
    assert not (tmp_path / "out").exists()


def classified(folder: Path, tiny_experiment: dict, rows: list[dict], **task) -> object:
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    off = dict.fromkeys(("auto_aligner", "in_context", "game_teacher"))
    config = config_file(
        folder,
        tiny_experiment,
        task={"kind": "classification", "path": "rows.jsonl", **task},
        oversight={},
        teachers={},
        seeds=[0],
        grid=[{"weak": ["bytes"], "strong": ["mid"]}],
        parts={p: 8 for p in ("weak", "student", "trusted", "validation", "test")},
        **off,
    )
    return legibility("weak-to-strong", config, "--out", folder / "out")


def test_a_classification_file(tiny_experiment, tmp_path):
    rows = [{"question": f"Is {k} even?", "label": k % 2 == 0} for k in range(120)]
    result = classified(tmp_path, tiny_experiment, rows)
    assert result.code == 0, result.err
    assert json.loads((tmp_path / "out/summary.json").read_text())["task"] == "classification"


SMALL = {"train": {"kind": "generated", "count": 120}, "prover": 8, "verifier": 40, "validation": 12, "test_size": 12}


@pytest.mark.parametrize("task", ["preferences", "twins", "pairs", "written", "generator"])
def test_other_tasks(tiny_experiment, tiny_run, tiny_prover_dir, tmp_path, task):
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


def test_generating_answers(tiny_experiment, tiny_run, tiny_prover_dir, tmp_path):
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
            "max_new_tokens": 16,
        },
    }
    run = weak_to_strong(ExperimentSettings.model_validate(settings), tmp_path / "out", progress=quiet())
    found = json.loads((run.path / "summary.json").read_text())["generation"]
    assert 0 <= found["weak_label_accuracy"] <= 1 and found["test_problems"] == 12
    estimates(found["pgr"])
    assert not list(run.path.glob(".generation*"))


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        ([{"question": f"{k}?"} for k in range(60)], {}, "no column 'label'"),
        ([{"question": f"{k}?", "label": 1} for k in range(60)], {}, "one class only"),
        (
            [{"question": f"{k}?", "label": k % 2} for k in range(60)],
            {"student_path": "rows.jsonl"},
            "must not overlap",
        ),
    ],
)
def test_bad_data_is_one_line_and_leaves_nothing(tiny_experiment, tmp_path, rows, task, message):
    result = classified(tmp_path, tiny_experiment, rows, **task)
    assert result.code == 2 and message in result.err and result.err.count("\n") == 1, result.err
    assert not (tmp_path / "out").exists()


def test_likelihood_head_reads_nothing_else(tiny_experiment, tmp_path):
    """Two features per text, and scores that move with them alone."""
    settings = ModelSettings.model_validate({**tiny_experiment["models"]["big"], "head": "likelihood"})
    classifier = load_classifier(settings, "cpu", seed=0)
    items = [Item(str(k), str(k), Problem(str(k), f"{k} + 1?", ""), (f"{k} + 1 = {k + 1}",), True) for k in range(3)]
    encoded = classifier.encode(items)
    assert classifier.hidden([e[0] for e in encoded]).shape == (3, 1, 2)
    assert classifier.scores([[e[0]] for e in encoded]).tolist() == [0, 0, 0]
    classifier.head.likelihood.weight.data.fill_(1.0)
    expected = classifier.hidden([e[0] for e in encoded]).sum((1, 2))
    assert classifier.scores([[e[0]] for e in encoded]).tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert not classifier.head.features.weight.requires_grad


def test_every_cell_comes_after_what_it_needs():
    far, near, weak = Cell("student", 0, ("a", "b", "c")), Cell("student", 0, ("a", "b")), Cell("weak", 0, ("a",))
    assert with_needs([far, Cell("ceiling", 0, ("c",)), near]) == {
        far: [near],
        Cell("ceiling", 0, ("c",)): [],
        near: [weak],
        weak: [],
    }


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


def test_shipped_config_and_its_quick_version():
    full = load_config(ROOT / "configs/weak-to-strong-nano.yaml", schema=ExperimentSettings)
    assert (
        len({w for w, *_ in full.combinations()}) >= 3
        and len({s for _, s, *_ in full.combinations()}) >= 3
        and len(full.seeds) == 3
    )
    quick = full.quick()
    combinations = quick.combinations()
    assert (
        len(quick.seeds) == 1
        and {w for w, *_ in combinations} == {"xs-verifier"}
        and {s for _, s, *_ in combinations} == {"equal"}
    )
    for k, whole in ((2, {c[2] for c in full.combinations()}), (3, set(full.teachers)), (4, set(full.oversight))):
        assert whole <= {c[k] for c in combinations}


def test_grid_script_joins_studies_and_rewrites_its_section_only(finished, tmp_path):
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n## Other\n\nkept\n", encoding="utf-8")
    grid = runpy.run_path(str(ROOT / "scripts/weak_to_strong_grid.py"))["main"]
    for _ in range(2):
        grid(experiments=[finished], out=tmp_path / "grid", results=page)
    text = page.read_text()
    assert text.count("## Weak-to-strong") == 1 and "kept" in text and "| bytes → big |" in text
    assert "figures/weak_to_strong.png" in text and (tmp_path / "figures/weak_to_strong.png").stat().st_size > 1000
    assert (tmp_path / "grid/pgr.png").stat().st_size > 1000
