"""Attacks on frozen verifiers: criteria, the phase itself, resuming, and the length-penalised arm."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from legibility import ppo
from legibility.config import AttackSettings
from legibility.evaluation.attacks.attack import AttackTracker, survival
from legibility.evaluation.evaluate import evaluate
from legibility.evaluation.run import Study
from tests.support import legibility, quiet


class Killed(BaseException):
    """What a kill looks like from inside."""


FAST = ("attack.max_steps=2", "attack.seeds=2", "attack.problems_per_step=3")


@pytest.fixture
def copied(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "tiny")
    return tmp_path / "tiny"


def records(path):
    return json.loads((path / "evaluation" / "attacks.json").read_text())


def sneaky(accuracy, invalid, score):
    return {"accuracy_sneaky": accuracy, "invalid_sneaky": invalid, "score_sneaky_incorrect": score}


# ---------------------------------------------------------------- criteria


def test_success_needs_incorrect_and_convincing_text():
    """95% incorrect, and incorrect text scored as high as the reference; smoothing 1 makes every step count alone."""

    def exploited(*steps) -> int | None:
        tracker = AttackTracker(AttackSettings(), "src", reference=1.0, ema=1.0)
        for i, step in enumerate(steps, 1):
            tracker.observe(i, sneaky(*step))
        return tracker.exploited_at

    assert exploited((0.05, 0.0, 1.0)) == 1
    assert exploited((0.06, 0.0, 9.0)) is None
    assert exploited((0.05, 0.0, 0.99)) is None
    assert exploited((0.0, 0.06, 9.0)) is None  # unreadable text is not incorrect text
    assert exploited((0.5, 0.0, 2.0), (0.0, 0.0, 0.5), (0.02, 0.02, 1.5)) == 3


def test_criteria_are_smoothed():
    tracker = AttackTracker(AttackSettings(), "cgc", reference=1.0, ema=0.5)
    for step, score in enumerate((0.0, 2.0, 2.0), 1):  # smoothed 0, 1, 1.5
        tracker.observe(step, sneaky(0.0, 0.0, score))
    assert tracker.exploited_at == 2 and tracker.gap == pytest.approx(-0.5) and tracker.should_stop(3)


def test_goodhart_succeeds_once_accuracy_is_lost():
    tracker = AttackTracker(AttackSettings(), "goodhart", reference=float("nan"), ema=1.0)
    for step, accuracy in enumerate((0.6, 0.2, 0.19), 1):
        tracker.observe(step, {"accuracy_helpful": accuracy})
    assert tracker.exploited_at == 3


# ---------------------------------------------------------------- the phase


def test_an_attack_is_sneaky_only_against_a_frozen_verifier_and_is_made_once(copied, monkeypatch):
    weights = (copied / "rounds/00/verifier/model.safetensors").read_bytes()
    result = legibility("attack", copied, "--verifier", 0, "--reward", "cgc", *FAST)
    assert result.code == 0, result
    found = records(copied)
    assert [(r["verifier"], r["reward"], r["seed"]) for r in found] == [(0, "cgc", 0), (0, "cgc", 1)]
    assert all(
        r["cap"] == 2 and r["steps"] <= 2 and r["start"] == "base" and (r["exploited"] or r["steps"] == 2)
        for r in found
    )
    assert (copied / "rounds/00/verifier/model.safetensors").read_bytes() == weights
    frames = [pd.read_parquet(copied / f"evaluation/attacks/v00_cgc_s{s}_c2/solutions.parquet") for s in (0, 1)]
    for frame in frames:
        assert set(frame.role) == {"sneaky"}
        steps = frame[frame.phase == "ppo"]
        assert (
            set(steps.split) == {"prover"}
            and steps.groupby("step").size().eq(3 * 4).all()
            and steps.score.notna().all()
        )
        assert len(frame[frame.split == "test"]) == 20 * 2
    assert not frames[0].text.equals(frames[1].text)  # seeds differ

    monkeypatch.setattr(ppo.PPO, "step", lambda *a, **k: pytest.fail("an attack was made again"))
    again = legibility("attack", copied, "--verifier", 0, "--reward", "cgc", *FAST)
    assert again.code == 0 and records(copied) == found
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["evaluation"]["attacks"] == found and summary["evaluation"]["survival"][0]["n"] == 2


def test_a_killed_attack_is_made_again_from_its_start(copied, monkeypatch):
    whole = copied.with_name("whole")
    shutil.copytree(copied, whole)
    assert legibility("attack", whole, "--verifier", 1, "--reward", "src", *FAST).code == 0
    real, calls = ppo.PPO.step, []

    def dies(self, *a, **k):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return real(self, *a, **k)

    monkeypatch.setattr(ppo.PPO, "step", dies)
    with pytest.raises(Killed):
        legibility("attack", copied, "--verifier", 1, "--reward", "src", *FAST)
    monkeypatch.setattr(ppo.PPO, "step", real)
    assert legibility("attack", copied, "--verifier", 1, "--reward", "src", *FAST).code == 0
    for file in (whole / "evaluation/attacks").rglob("*.parquet"):
        assert (copied / file.relative_to(whole)).read_bytes() == file.read_bytes()


def test_refusals(copied):
    for arguments, parts in (
        (("--verifier", 7, "--reward", "src"), ("--verifier 7", "0, 1")),
        (("--verifier", 0, "--reward", "goodhart", "attack.goodhart_start=0.999"), ("start accuracy", "0.999")),
        (("attack.rewards=[src, src]",), ("attack.rewards",)),
        (("reward.kind=src",), ("reward.kind=src",)),
    ):
        result = legibility("attack", copied, *arguments)
        assert result.code == 2 and result.err.count("\n") == 1, result
        assert all(part in result.err for part in parts), result.err
    assert not list((copied / "evaluation").glob("attacks/*")) if (copied / "evaluation").exists() else True


def test_attacks_side_by_side_are_the_same_attacks(copied, tmp_path):
    alone = shutil.copytree(copied, tmp_path / "alone")
    options = ("--verifier", 0, *FAST, "compute.threads=1", "attack.goodhart_start=0.999")
    assert legibility("attack", alone, *options).code == 0
    result = legibility("attack", copied, *options, "attack.parallel=2")
    assert result.code == 0 and result.out.count("goodhart attacks are left out") == 1
    assert records(copied) == records(alone) and len(records(alone)) == 4
    for file in (alone / "evaluation/attacks").rglob("*.parquet"):
        assert (copied / file.relative_to(alone)).read_bytes() == file.read_bytes()


def test_other_settings_do_not_mix_with_attacks_that_were_made(copied):
    assert legibility("attack", copied, "--verifier", 0, "--reward", "cgc", *FAST).code == 0
    result = legibility("attack", copied, "--verifier", 0, "--reward", "cgc", *FAST, "attack.problems_per_step=2")
    assert result.code == 2 and "other attack settings" in result.err


def test_a_higher_cap_goes_beyond_a_censored_attack(copied):
    one = ("--verifier", 0, "--reward", "cgc", "attack.seeds=1", "attack.problems_per_step=3")
    assert legibility("attack", copied, *one, "attack.max_steps=1", "attack.incorrect=1.0").code == 0
    first = records(copied)[0]
    assert legibility("attack", copied, *one, "attack.max_steps=2", "attack.incorrect=1.0").code == 0
    second = records(copied)[0]
    assert second["cap"] == (1 if first["exploited"] else 2)


def test_quick_attacks_are_few_and_marked(copied):
    assert legibility("attack", copied, "--verifier", 1, "--quick", "attack.problems_per_step=2").code == 0
    found = records(copied)
    assert [(r["reward"], r["seed"], r["quick"], r["cap"]) for r in found] == [("cgc", 0, True, 3), ("src", 0, True, 3)]


def test_a_cap_below_twice_the_first_verifiers_median_shows(copied):
    made = [
        {"verifier": v, "reward": "src", "seed": s, "steps": t, "exploited": e, "cap": 50, "quick": False}
        for v, t, e in ((0, 30, True), (1, 50, False))
        for s in range(3)
    ]
    rows = survival(Study(copied), made)
    assert [r["cap_enough"] for r in rows] == [False, False] and rows[0]["median"] == 30 and rows[1]["censored"] == 1.0


def test_a_whole_evaluation_trains_attackers_and_the_length_penalised_arm(copied):
    """Without --quick; their text is in the matrix, the tax and the subtlety table."""
    options = (
        *FAST,
        "attack.seeds=1",
        "attack.rewards=[cgc, goodhart]",
        "attack.goodhart_start=0.1",
        "evaluation.best_of_n_problems=4",
        "evaluation.best_of_n_samples=2",
    )
    found = evaluate(copied, overrides=options, progress=quiet())
    assert {(r["reward"], r["verifier"]) for r in found["attacks"]} == {
        ("cgc", 0),
        ("cgc", 1),
        ("goodhart", 0),
        ("goodhart", 1),
    }
    assert {"correctness short", "attack cgc 0", "attack goodhart 1"} <= set(found["matrix"]["solutions"])
    assert "correctness short" in found["tax"]["arms"] and set(found["tax"]["tax"]) == {
        "correctness",
        "correctness short",
    }
    goodhart = pd.read_parquet(next((copied / "evaluation/attacks").glob("v00_goodhart*")) / "solutions.parquet")
    assert set(goodhart.role) == {"helpful"}
    short = pd.read_parquet(copied / "evaluation/arms/correctness_short/solutions.parquet")
    paid = short[short.phase == "ppo"]
    expected = (paid.verdict == "correct") * 2 - 1 - paid.completion_tokens / 16
    assert paid.reward.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6)
    result = legibility("evaluate", copied, *options, "evaluation.length_penalty=0.5")
    assert result.code == 2 and "length_penalty" in result.err
