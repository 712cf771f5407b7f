"""Every headline number of a finished run recomputed from what the run stored."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from legibility.evaluation.summary import lost_sections, write_summary
from legibility.game.run_folder import RunFolder
from legibility.grading.style import style_of
from legibility.metrics import LEAST_UNITS
from legibility.models.verifier import Verifier
from legibility.problems.storage import read_problems
from tests.support import beats


@pytest.fixture(scope="module")
def summary(tiny_run):
    return json.loads((tiny_run.path / "summary.json").read_text())


@pytest.fixture(scope="module")
def texts(tiny_run):
    """Test completions by arm, straight from the parquet files."""

    def read(place, **where):
        frame = pd.read_parquet(tiny_run.path / place / "solutions.parquet")
        frame = frame[(frame.split == "test") & (frame.phase != "ppo")]
        for column, value in where.items():
            frame = frame[frame[column] == value]
        return frame

    return {
        "init": read("base", role="base"),
        "correctness": read("arms/correctness/collection"),
        "halfway": read("arms/correctness/prover", phase="halfway"),
        **{f"{role} {r}": read(f"rounds/{r:02d}", role=role) for r in (0, 1) for role in ("helpful", "sneaky")},
    }


def accuracy(frame) -> float:
    return float((frame.verdict == "correct").mean())


def test_the_summary_has_the_keys_that_others_read(summary):
    assert summary["schema"] == 2
    assert summary["wall_seconds"] > 0 and summary["peak_memory_mb"] > 50
    for arm in ("init", "correctness", "game"):
        assert 0 <= summary["arms"][arm]["accuracy"] <= 1
    rounds = summary["arms"]["game"]["rounds"]
    assert [r["round"] for r in rounds] == [0, 1]
    for r in rounds:
        assert (r["steps"] == 3 and r["steps_to_exploit"] is None) or 1 <= r["steps_to_exploit"] <= 3
        assert 0 <= r["helpful_accuracy"] <= 1 and 0 <= r["sneaky_accuracy"] <= 1
        for name in ("auroc_previous_round", "auroc_own_round"):
            assert {"pooled", "within_role"} <= set(r["verifier"][name])
    for name in ("legibility_tax", "retained_gain"):
        assert set(summary[name]) == {"value", "low", "high"}


def test_accuracies_are_those_of_the_stored_text(summary, texts):
    for name, frame in texts.items():
        assert len(frame) == 40 and frame.problem_id.nunique() == 20, name
    arms = summary["arms"]
    assert arms["init"]["accuracy"] == pytest.approx(accuracy(texts["init"]))
    assert arms["correctness"]["accuracy"] == pytest.approx(accuracy(texts["correctness"]))
    assert arms["correctness"]["accuracy_at_half_steps"] == pytest.approx(accuracy(texts["halfway"]))
    for r in arms["game"]["rounds"]:
        for role in ("helpful", "sneaky"):
            frame = texts[f"{role} {r['round']}"]
            assert r[f"{role}_accuracy"] == pytest.approx(accuracy(frame))
            assert r[f"{role}_invalid"] == pytest.approx((frame.verdict == "invalid").mean())
            assert r[f"{role}_length"] == pytest.approx(frame.completion_tokens.mean())
            low, high = r[f"{role}_interval"]
            assert low <= r[f"{role}_accuracy"] <= high
    assert arms["game"]["accuracy"] == arms["game"]["rounds"][-1]["helpful_accuracy"]


def test_tax_and_retained_gain_are_differences_of_accuracies(summary, texts):
    init, corr, game = (accuracy(texts[n]) for n in ("init", "correctness", "helpful 1"))
    assert summary["legibility_tax"]["value"] == pytest.approx(corr - game)
    assert summary["legibility_tax_equal_helpful_samples"]["value"] == pytest.approx(accuracy(texts["halfway"]) - game)
    half = accuracy(texts["halfway"])
    equal = None if abs(half - init) < 1e-9 else pytest.approx((game - init) / (half - init))
    assert summary["retained_gain_equal_helpful_samples"]["value"] == equal
    for name in ("halfway", "correctness", "helpful 1", "init"):  # every arm is read on equally many samples
        assert set(texts[name].groupby("problem_id").size()) == {2}
    expected = None if abs(corr - init) < 1e-9 else (game - init) / (corr - init)
    assert summary["retained_gain"]["value"] == (expected if expected is None else pytest.approx(expected))


def test_tax_interval_is_paired_over_problems(summary, texts):
    """Against a bootstrap of the per-problem differences, with its own random numbers."""
    per_problem = [
        (texts[n].verdict == "correct").groupby(texts[n].problem_id).mean().sort_index()
        for n in ("correctness", "helpful 1")
    ]
    difference = (per_problem[0] - per_problem[1]).to_numpy()
    rng = np.random.default_rng(0)
    draws = np.array([rng.choice(difference, len(difference)).mean() for _ in range(4000)])
    low, high = np.quantile(draws, [0.025, 0.975])
    assert summary["legibility_tax"]["low"] == pytest.approx(low, abs=0.35 * (high - low))
    assert summary["legibility_tax"]["high"] == pytest.approx(high, abs=0.35 * (high - low))


@pytest.mark.parametrize("index", [0, 1])
def test_auroc_of_a_verifier_is_that_of_its_saved_weights(summary, texts, tiny_run, index):
    """pooled: helpful-correct against sneaky-incorrect; within_role: the mean over roles; on held-out test problems."""
    config = tiny_run.config()
    verifier = Verifier.load(config.verifier, "cpu", source=str(tiny_run.path / f"rounds/{index:02d}/verifier"))
    problems = read_problems(tiny_run.path / "problems.jsonl")

    def scored(*names):
        frame = pd.concat([texts[n] for n in names])
        frame = frame[frame.verdict != "invalid"].copy()
        frame["v"] = verifier.score([problems[p] for p in frame.problem_id], list(frame.text))
        return frame

    def area(right, wrong):
        return beats((a, b) for a in right.v for b in wrong.v)

    def cells(frame, role):
        mine = frame[frame.role == role]
        return mine[mine.verdict == "correct"], mine[mine.verdict == "incorrect"]

    def check(frame, reported):
        (hc, hi), (sc, si) = cells(frame, "helpful"), cells(frame, "sneaky")
        assert reported["pooled"] == pytest.approx(area(hc, si), abs=1e-6)
        assert reported["within_role"] == pytest.approx((area(hc, hi) + area(sc, si)) / 2, abs=1e-6)

    reported = summary["arms"]["game"]["rounds"][index]["verifier"]
    own = scored(f"helpful {index}", f"sneaky {index}")
    np.testing.assert_allclose(own.v, own.score, atol=1e-5)  # the stored scores are this verifier's
    check(own, reported["auroc_own_round"])
    base = scored("init")
    assert reported["auroc_base"]["pooled"] == pytest.approx(area(*cells(base, "base")), abs=1e-6)
    if index == 0:
        assert reported["auroc_previous_round"] == reported["auroc_base"]
    else:
        check(scored("helpful 0", "sneaky 0"), reported["auroc_previous_round"])
    assert reported["parameters"] == verifier.parameter_count()
    same = {"won": 0.0, "pairs": 0, "candidates": 0}
    for _, group in own.groupby(["problem_id", "role"]):
        for right in group[group.verdict == "correct"].itertuples():
            for wrong in group[group.verdict == "incorrect"].itertuples():
                same["candidates"] += 1
                if style_of(right.text) == style_of(wrong.text):
                    same["pairs"] += 1
                    same["won"] += (right.score > wrong.score) + 0.5 * (right.score == wrong.score)
    figure = reported["same_style"]
    assert figure["pairs"] == same["pairs"] > 0 and figure["coverage"] == same["pairs"] / same["candidates"]
    assert figure["value"] == pytest.approx(same["won"] / same["pairs"])
    assert (figure["low"] is not None) is (figure["problems"] >= LEAST_UNITS)
    rest = {key: value for key, value in figure.items() if key not in ("low", "high")}
    assert reported["auroc_own_round"]["same_style"] == rest
    assert reported["auroc_base"]["same_style"]["pairs"] >= 0 and "base" in reported["auroc_base"]["same_style"]


def test_checkability_is_that_of_the_saved_weights(summary, texts, tiny_run):
    """Same-problem pairwise accuracy of the last verifier and of the judge no prover was trained against."""
    problems = read_problems(tiny_run.path / "problems.jsonl")
    arms = summary["arms"]
    places = {"last_verifier": "rounds/01/verifier", "held_out_judge": "judge"}
    for name, place in places.items():
        judge = Verifier.load(tiny_run.config().verifier, "cpu", source=str(tiny_run.path / place))
        for text, reported in (
            ("init", arms["init"]),
            ("correctness", arms["correctness"]),
            ("helpful 1", arms["game"]["rounds"][1]),
        ):
            frame = texts[text][texts[text].verdict != "invalid"]
            scores = judge.score([problems[p] for p in frame.problem_id], list(frame.text))
            rows = list(zip(scores, frame.verdict == "correct", frame.problem_id, strict=True))
            expected = beats((a, b) for a, c, p in rows for b, d, q in rows if c and not d and p == q)
            got = reported["checkability"][name]
            assert (got is None and np.isnan(expected)) or got == pytest.approx(expected, abs=1e-6)


def test_a_summary_can_be_written_again(summary, tiny_run):
    """It is computed from the folder alone; wall time is the sum of the phases'."""
    before = (tiny_run.path / "summary.json").read_bytes()
    write_summary(RunFolder.existing(tiny_run.path))
    assert (tiny_run.path / "summary.json").read_bytes() == before
    seconds = [tiny_run.done_record(p).seconds for p in tiny_run.finished_phases()]
    assert summary["wall_seconds"] == pytest.approx(sum(seconds))


def test_sections_that_are_gone_are_named(evaluated, tmp_path):
    run = RunFolder(tmp_path / "copy")
    shutil.copytree(evaluated.path, run.path)
    assert lost_sections(run) == []
    (run.path / "evaluation/tax.json").unlink()
    assert lost_sections(run) == [run.path / "evaluation/tax.json"]
    (run.path / "summary.json").write_text("{")
    assert lost_sections(run) == []
