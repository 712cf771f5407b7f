"""Runs merged over seeds, and the scripts that write tables from stored runs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from legibility.config_file import load_config
from legibility.evaluation.compare import Comparison, Difference, merge, over_seeds, paired_test, steps_by_seed
from legibility.stored import read_stored
from tests.evaluation.summaries import summary_of
from tests.support import ROOT, legibility

SCRIPTS = ROOT / "scripts"


def script(name: str):
    """A script as a module; pydantic looks it up by name."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", SCRIPTS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def seeds(tiny_run, tmp_path) -> list[Path]:
    """Three finished runs that differ in their seed and a little in their numbers."""
    paths = []
    for seed in range(3):
        path = tmp_path / f"seed-{seed}"
        shutil.copytree(tiny_run.path, path)
        summary = json.loads((path / "summary.json").read_text())
        summary.update(seed=seed, run=path.name)
        summary["arms"]["correctness"]["accuracy"] = 0.6 + 0.01 * seed
        summary["arms"]["game"]["rounds"][1]["helpful_accuracy"] = 0.5 + 0.02 * seed
        (path / "summary.json").write_text(json.dumps(summary))
        config = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(config.replace("seed: 0", f"seed: {seed}", 1))
        paths.append(path)
    return paths


def test_interval_over_seeds_is_student_s():
    found = over_seeds([0.1, 0.2, None, 0.6], 0.95)
    low, high = stats.t.interval(0.95, 2, np.mean([0.1, 0.2, 0.6]), stats.sem([0.1, 0.2, 0.6]))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((0.3, low, high, 3))
    assert over_seeds([0.4], 0.95).low is None and over_seeds([None], 0.95).mean is None


def test_paired_test_uses_the_seeds_that_have_both():
    first, second = [0.5, 0.7, 0.6, None], [0.4, 0.5, 0.55, 0.9]
    found = paired_test(first, second)
    assert found.n == 3 and found.difference == pytest.approx(0.35 / 3)
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.05], 0).pvalue)
    assert paired_test([1, None], [None, 1]) == Difference(difference=None, p=None, n=0)


def test_compare(seeds, tmp_path):
    out = tmp_path / "compared"
    result = legibility("compare", *seeds, "--out", out)
    assert result.code == 0, result
    found = read_stored(out / "compare.json", Comparison, fix="-")
    assert found.seeds == [0, 1, 2] and found.settings_differ == []
    corner = found.figure("correctness_accuracy")
    assert corner.title == corner.label == "correctness-only accuracy" and corner.round is None
    assert corner.values == pytest.approx([0.6, 0.61, 0.62]) and corner.mean == pytest.approx(0.61)
    last = found.figure("helpful_accuracy", 1)
    assert last.title == "round 1: helpful accuracy" and last.values == pytest.approx([0.5, 0.52, 0.54])
    (test,) = (t for t in found.paired_tests if t.name == "accuracy_correctness_against_game")
    assert test.n == 3 and test.difference == pytest.approx(np.mean([0.1, 0.09, 0.08]))
    page = (out / "compare.html").read_text()
    assert "seed 2" in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
    again = legibility("compare", *seeds, "--out", out)
    assert again.code == 2 and "exists already" in again.err


def test_compare_refuses(seeds, tmp_path):
    out = tmp_path / "compared"
    for arguments, part in (
        ((seeds[0],), "at least two"),
        ((seeds[0], seeds[0]), "same seed"),
        ((seeds[0], tmp_path / "none"), "no run folder"),
    ):
        result = legibility("compare", *arguments, "--out", out)
        assert result.code == 2 and part in result.err and result.err.count("\n") == 1, result
    (seeds[1] / "summary.json").unlink()
    result = legibility("compare", *seeds, "--out", out)
    assert result.code == 2 and "not finished" in result.err and not out.exists()


def test_runs_of_other_settings_are_pointed_out(seeds, tmp_path):
    config = seeds[1] / "config.yaml"
    config.write_text(config.read_text().replace("updates: 12", "updates: 13"))
    assert legibility("compare", *seeds, "--out", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out/compare.json").read_text())["settings_differ"] == ["verifier.updates: 12 -> 13"]
    assert "differ in more than the seed" in (tmp_path / "out/compare.html").read_text()


def test_a_figure_is_told_by_name_round_and_verifier():
    merged = merge([summary_of(0), summary_of(1)])
    identities = [(f.name, f.round, f.verifier) for f in merged.figures]
    assert len(set(identities)) == len(identities) and len({f.title for f in merged.figures}) == len(identities)
    tests = [(t.name, t.round) for t in merged.paired_tests]
    assert len(set(tests)) == len(tests) and len({t.label for t in merged.paired_tests}) == len(tests)
    assert merged.rounds == [0, 1] and merged.figure("auroc_pooled", 0, 1).label == "AUROC pooled, verifier 1"
    with pytest.raises(KeyError, match="auroc_pooled"):
        merged.figure("auroc_pooled", 1, 2)


def test_quick_attacks_give_way_to_full_ones():
    quick = summary_of(0, attacks=((1, 1),), quick=True)
    assert [row.median for row in merge([quick, summary_of(1, attacks=((30, 30),))]).survival] == [30]
    assert [row.quick for row in merge([quick, summary_of(1)]).survival] == [True]


# ---------------------------------------------------------------- scripts


def test_results_page(seeds, tmp_path):
    """docs/results.md is written from the runs alone."""
    module = script("results")
    out = tmp_path / "results.md"
    module.main(seeds, config=SCRIPTS.parent / "configs" / "nano-full.yaml", sweep=None, out=out)
    page = out.read_text()
    assert "## Claims of the paper" in page and "legibility tax" in page and "seed=2" in page
    assert (
        tmp_path / "figures" / "rounds_over_seeds.png"
    ).stat().st_size > 5000 and "(figures/rounds_over_seeds.png)" in page
    assert all(
        line.count("|") == page.split("\n")[i + 1].count("|")
        for i, line in enumerate(page.split("\n")[:-1])
        if line.startswith("|") and page.split("\n")[i + 1].startswith("|")
    )


def test_steps_by_seed_show_what_was_never_fooled():
    merged = merge([summary_of(0, steps=(20, 21), length=21), summary_of(1, steps=(20, None), length=80)])
    assert steps_by_seed(merged, 1) == "21, > 80"


def test_sweep_table_and_figure():
    """Of results as the sweep stores them; its games are ordinary runs, played elsewhere in these tests."""
    module = script("sweep")
    merged = merge([summary_of(s) for s in range(2)])
    results = [
        module.SweepPoint(name=name, parameters=1000 * k, merged=merged)
        for k, name in enumerate(("verifier xs", "verifier s", "verifier m", "verifier equal"), 1)
    ]
    table = module.render(results)
    assert table.count("\n") == 2 + 4 and "verifier equal" in table and "4,000" in table
    figure = module.draw(results)
    assert len(figure.axes[0].lines) == 4 + 4 * 2  # a line and the intervals of two rounds per point


def test_sweep_sizes_have_the_kind_of_the_config(tiny_config_file):
    module = script("sweep")
    marked = module.choose("sizes", load_config(tiny_config_file, ["verifier.model=nano-m-marked"]))
    assert marked["verifier xs"] == ["verifier.model=nano-xs-marked"] and "SRC" not in marked
    assert module.choose("all", load_config(tiny_config_file, ["verifier.model=nano-m"]))["verifier s"] == [
        "verifier.model=nano-s"
    ]


def test_sweep_plays_evaluates_and_resumes(tiny_config_file, tiny_overrides, tmp_path, monkeypatch):
    module = script("sweep")
    monkeypatch.setattr(
        module, "REWARDS", {"CGC": ["reward.kind=cgc"], "same game": ["reward.kind=cgc"], "SRC": ["reward.kind=src"]}
    )
    changes = [
        *tiny_overrides,
        "ppo.steps=1",
        "evaluation.best_of_n_problems=3",
        "evaluation.best_of_n_samples=2",
        "game.rounds=1",
    ]
    stamps = []
    for _ in range(2):
        module.main(tiny_config_file, changes, out=tmp_path, points="rewards", seeds="0")
        assert (tmp_path / "sweep.png").stat().st_size > 1000 and "| CGC |" in (tmp_path / "sweep.md").read_text()
        assert f"`python scripts/sweep.py {tiny_config_file} " in (tmp_path / "sweep.md").read_text()
        assert "| same game |" in (tmp_path / "sweep.md").read_text() and not (tmp_path / "same-game-0").exists()
        drawn, taken = (tmp_path / f"{point}/base/DONE" for point in ("cgc-0", "src-0"))
        assert taken.read_bytes() == drawn.read_bytes()  # seconds and all: drawn once
        stamps.append((tmp_path / "cgc-0/summary.json").stat().st_mtime_ns)
    assert stamps[0] == stamps[1]
