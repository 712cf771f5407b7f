"""One attack on a frozen verifier: its criteria, the phase itself, and going on after a kill."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from legibility import ppo
from legibility.config import AttackSettings
from legibility.evaluation.attacks.attack import AttackTracker
from tests.evaluation.helpers import FAST, section
from tests.support import legibility


class Killed(BaseException):
    """What a kill looks like from inside."""


def sneaky(accuracy, invalid, score):
    return {"accuracy_sneaky": accuracy, "invalid_sneaky": invalid, "score_sneaky_incorrect": score}


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


def test_an_attack_is_sneaky_only_against_a_frozen_verifier_and_is_made_once(copied, monkeypatch):
    weights = (copied.path / "rounds/00/verifier/model.safetensors").read_bytes()
    result = legibility("attack", copied.path, "--verifier", 0, "--reward", "cgc", *FAST)
    assert result.code == 0, result
    found = section(copied, "attacks")
    assert [(r["verifier"], r["reward"], r["seed"]) for r in found] == [(0, "cgc", 0), (0, "cgc", 1)]
    assert all(
        r["cap"] == 2 and r["steps"] <= 2 and r["start"] == "base" and (r["exploited"] or r["steps"] == 2)
        for r in found
    )
    assert (copied.path / "rounds/00/verifier/model.safetensors").read_bytes() == weights
    frames = [pd.read_parquet(copied.path / f"evaluation/attacks/v00_cgc_s{s}_c2/solutions.parquet") for s in (0, 1)]
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
    again = legibility("attack", copied.path, "--verifier", 0, "--reward", "cgc", *FAST)
    assert again.code == 0 and section(copied, "attacks") == found
    summary = json.loads((copied.path / "summary.json").read_text())
    assert summary["evaluation"]["attacks"] == found and summary["evaluation"]["survival"][0]["n"] == 2


def test_a_killed_attack_is_made_again_from_its_start(copied, monkeypatch):
    whole = copied.path.with_name("whole")
    shutil.copytree(copied.path, whole)
    assert legibility("attack", whole, "--verifier", 1, "--reward", "src", *FAST).code == 0
    real, calls = ppo.PPO.step, []

    def dies(self, *a, **k):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return real(self, *a, **k)

    monkeypatch.setattr(ppo.PPO, "step", dies)
    with pytest.raises(Killed):
        legibility("attack", copied.path, "--verifier", 1, "--reward", "src", *FAST)
    monkeypatch.setattr(ppo.PPO, "step", real)
    assert legibility("attack", copied.path, "--verifier", 1, "--reward", "src", *FAST).code == 0
    for file in (whole / "evaluation/attacks").rglob("*.parquet"):
        assert (copied.path / file.relative_to(whole)).read_bytes() == file.read_bytes()


def test_other_settings_do_not_mix_with_attacks_that_were_made(copied):
    assert legibility("attack", copied.path, "--verifier", 0, "--reward", "cgc", *FAST).code == 0
    result = legibility("attack", copied.path, "--verifier", 0, "--reward", "cgc", *FAST, "attack.problems_per_step=2")
    assert result.code == 2 and "other attack settings" in result.err


def test_a_higher_cap_goes_beyond_a_censored_attack(copied):
    one = ("--verifier", 0, "--reward", "cgc", "attack.seeds=1", "attack.problems_per_step=3")
    assert legibility("attack", copied.path, *one, "attack.max_steps=1", "attack.incorrect=1.0").code == 0
    first = section(copied, "attacks")[0]
    assert legibility("attack", copied.path, *one, "attack.max_steps=2", "attack.incorrect=1.0").code == 0
    second = section(copied, "attacks")[0]
    assert second["cap"] == (1 if first["exploited"] else 2)
