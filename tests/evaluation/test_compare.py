"""Runs merged over seeds, the paper's claims, and the scripts that write tables from stored runs."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from legibility.config_file import load_config
from legibility.evaluation.claims import FAILED, HELD, UNCLEAR, UNKNOWN, claims
from legibility.evaluation.compare import merge, over_seeds, paired_test, steps_by_seed
from tests.support import ROOT, legibility

SCRIPTS = ROOT / "scripts"


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
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
    assert (found["mean"], found["low"], found["high"], found["n"]) == pytest.approx((0.3, low, high, 3))
    assert over_seeds([0.4], 0.95)["low"] is None and over_seeds([None], 0.95)["mean"] is None


def test_paired_test_uses_the_seeds_that_have_both():
    first, second = [0.5, 0.7, 0.6, None], [0.4, 0.5, 0.55, 0.9]
    found = paired_test(first, second)
    assert found["n"] == 3 and found["difference"] == pytest.approx(0.35 / 3)
    assert found["p"] == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.05], 0).pvalue)
    assert paired_test([1, None], [None, 1]) == {"difference": None, "p": None, "n": 0}


def test_compare(seeds, tmp_path):
    out = tmp_path / "compared"
    result = legibility("compare", *seeds, "--out", out)
    assert result.code == 0, result
    found = json.loads((out / "compare.json").read_text())
    assert found["seeds"] == [0, 1, 2] and found["settings_differ"] == []
    corner = found["figures"]["correctness-only accuracy"]
    assert corner["values"] == pytest.approx([0.6, 0.61, 0.62]) and corner["mean"] == pytest.approx(0.61)
    test = found["paired_tests"]["correctness-only against the game: accuracy"]
    assert test["n"] == 3 and test["difference"] == pytest.approx(np.mean([0.1, 0.09, 0.08]))
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


# ---------------------------------------------------------------- claims


def summary_of(seed: int, *, steps=(20, 60), best=(0.3, 0.6), game=0.5, attacks=()) -> dict:
    """As much of a summary as the claims read, of a run of two rounds."""
    return {
        "seed": seed,
        "run": f"r{seed}",
        "legibility_tax": {"value": 0.1},
        "retained_gain": {"value": 0.5},
        "arms": {
            "init": {"accuracy": 0.3},
            "correctness": {"accuracy": game + 0.1},
            "game": {
                "accuracy": game,
                "rounds": [
                    {
                        "round": r,
                        "steps": 80,
                        "steps_to_exploit": steps[r],
                        "helpful_accuracy": game,
                        "sneaky_accuracy": 0.05,
                    }
                    for r in (0, 1)
                ],
            },
        },
        "evaluation": {
            "best_of_n": [{"round": r, "n": 16, "value": best[r] + 0.01 * seed} for r in (0, 1)],
            "attacks": [
                {
                    "verifier": v,
                    "reward": "src",
                    "seed": i,
                    "steps": t,
                    "exploited": t < 100,
                    "cap": 100,
                    "quick": False,
                }
                for v, times in enumerate(attacks)
                for i, t in enumerate(times)
            ],
        },
    }


def verdicts(summaries) -> dict[str, str]:
    return {c.text: c.verdict for c in claims(summaries)}


def test_a_claim_holds_fails_or_is_not_clear():
    good = verdicts([summary_of(s, steps=(20 + s, 60 + s)) for s in range(3)])
    assert good["Within the game, the last verifier takes more steps to fool than verifier 0"] == HELD
    assert good["Round 0's verifier picks below chance in balanced best-of-16"] == HELD
    assert good["The last verifier picks above chance in balanced best-of-16"] == HELD
    bad = verdicts([summary_of(s, steps=(60, 20 + s), best=(0.3, 0.29)) for s in range(3)])
    assert bad["Within the game, the last verifier takes more steps to fool than verifier 0"] == FAILED
    assert bad["Best-of-16 improves over the rounds"] == FAILED
    mixed = verdicts([summary_of(s, steps=(20, (60, 21, 22)[s])) for s in range(3)])
    assert mixed["Within the game, the last verifier takes more steps to fool than verifier 0"] == UNCLEAR
    assert verdicts([summary_of(0)])["Best-of-16 improves over the rounds"] == UNCLEAR  # one seed proves nothing
    assert good["Sneaky flaws get subtler over the rounds"] == UNKNOWN


def test_a_round_that_was_not_fooled_counts_its_whole_length():
    assert (
        verdicts([summary_of(s, steps=(20 + s, None)) for s in range(3)])[
            "Within the game, the last verifier takes more steps to fool than verifier 0"
        ]
        == HELD
    )


def test_survival_claims_are_about_attacks_of_all_runs():
    name = "The last verifier withstands SRC attacks for longer than verifier 0"
    strong = [summary_of(s, attacks=((10, 12, 14), (100, 100, 90))) for s in range(3)]
    assert verdicts(strong)[name] == HELD
    assert verdicts([summary_of(s, attacks=((50, 52, 54), (20, 30, 40))) for s in range(3)])[name] == FAILED
    assert verdicts([summary_of(0, attacks=((10, 30), (20, 40)))])[name] == UNCLEAR
    assert verdicts([summary_of(0)])[name] == UNKNOWN


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
    figures = {
        "round 1: steps to exploit in the game": {"values": [21, None]},
        "round 1: PPO steps": {"values": [21, 80]},
    }
    assert steps_by_seed(figures, 1) == "21, > 80"


def test_sweep_table_and_figure():
    """Of results as the sweep stores them; its games are ordinary runs, played elsewhere in these tests."""
    module = script("sweep")
    merged = merge([summary_of(s) for s in range(2)])
    results = {
        name: {**merged, "parameters": 1000 * k}
        for k, name in enumerate(("verifier xs", "verifier s", "verifier m", "verifier equal"), 1)
    }
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
