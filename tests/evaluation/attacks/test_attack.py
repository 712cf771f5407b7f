"""One attack on a frozen verifier: its criteria, the phase itself, and going on after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from legibility import ppo
from legibility.config import AttackSettings, StopSettings
from legibility.evaluation.attacks import attack as attack_module
from legibility.evaluation.attacks.attack import AttackTracker
from tests.evaluation.helpers import FAST, SMALL, section
from tests.support import legibility


class Killed(BaseException):
    """What a kill looks like from inside."""


def sneaky(accuracy, invalid, score):
    texts = {"texts_sneaky": 64, "texts_sneaky_incorrect": 64}
    return {"accuracy_sneaky": accuracy, "invalid_sneaky": invalid, "score_sneaky_incorrect": score, **texts}


def at_once(ema: float) -> StopSettings:
    """Smoothing alone, no least amount of evidence."""
    return StopSettings(ema=ema, min_steps=0, min_samples=1)


def test_success_needs_incorrect_and_convincing_text():
    """95% incorrect, and incorrect text scored as high as the reference; smoothing 1 makes every step count alone."""

    def exploited(*steps) -> int | None:
        tracker = AttackTracker(AttackSettings(), "src", 1.0, at_once(1.0))
        for i, step in enumerate(steps, 1):
            tracker.observe(i, sneaky(*step))
        return tracker.exploited_at

    assert exploited((0.05, 0.0, 1.0)) == 1
    assert exploited((0.06, 0.0, 9.0)) is None
    assert exploited((0.05, 0.0, 0.99)) is None
    assert exploited((0.0, 0.06, 9.0)) is None  # unreadable text is not incorrect text
    assert exploited((0.5, 0.0, 2.0), (0.0, 0.0, 0.5), (0.02, 0.02, 1.5)) == 3


def test_criteria_are_smoothed():
    tracker = AttackTracker(AttackSettings(), "cgc", 1.0, at_once(0.5))
    for step, score in enumerate((0.0, 2.0, 2.0), 1):  # smoothed 0, 1, 1.5
        tracker.observe(step, sneaky(0.0, 0.0, score))
    assert tracker.exploited_at == 2 and tracker.gap == pytest.approx(-0.5) and tracker.should_stop(3)


def test_goodhart_succeeds_once_accuracy_is_lost():
    tracker = AttackTracker(AttackSettings(), "goodhart", float("nan"), at_once(1.0))
    for step, accuracy in enumerate((0.6, 0.2, 0.19), 1):
        tracker.observe(step, {"accuracy_helpful": accuracy, "texts_helpful": 64})
    assert tracker.exploited_at == tracker.fixed_exploited_at == 3 and tracker.should_stop(3)


def test_an_attack_needs_the_evidence_that_a_game_needs():
    """Convincing text from the first step: it counts from stop.min_steps, and with stop.min_samples behind it."""

    def exploited(stop: StopSettings) -> int | None:
        tracker = AttackTracker(AttackSettings(), "src", 1.0, stop)
        for step in range(1, 13):
            tracker.observe(step, sneaky(0.0, 0.0, 2.0))
        return tracker.exploited_at

    assert exploited(StopSettings(min_steps=0, min_samples=64)) == 1
    assert exploited(StopSettings()) == 10
    assert exploited(StopSettings(min_steps=0, min_samples=65)) == 2
    assert exploited(StopSettings(min_steps=0, min_samples=10**6)) is None


def test_an_attack_goes_on_for_its_steps_and_until_both_references_are_reached():
    tracker = AttackTracker(AttackSettings(), "src", 1.0, at_once(1.0), fixed_reference=3.0, steps=2)
    over = []
    for step, score in enumerate((2.0, 2.0, 2.0, 3.0), 1):
        tracker.observe(step, sneaky(0.0, 0.0, score))
        over.append(tracker.should_stop(step))
    assert (tracker.exploited_at, tracker.fixed_exploited_at, over) == (1, 4, [False, False, False, True])
    tracker = AttackTracker(AttackSettings(), "src", 1.0, at_once(1.0), steps=3)
    over = []
    for step in (1, 2, 3):
        tracker.observe(step, sneaky(0.0, 0.0, 2.0))
        over.append(tracker.should_stop(step))
    assert over == [False, False, True]  # exploited at 1, and trained on for equal steps


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
    frames = [pd.read_parquet(copied.path / f"evaluation/attacks/v00_cgc_s{s}_n2_c2/solutions.parquet") for s in (0, 1)]
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
    assert not first["exploited"] and (first["cap"], second["cap"]) == (1, 2)  # too early to count as exploited


def test_an_attack_that_ended_at_its_exploit_is_made_again_where_equal_steps_are_asked_for(copied):
    one = ("--verifier", 0, "--reward", "cgc", "attack.seeds=1", "attack.problems_per_step=3")
    assert legibility("attack", copied.path, *one, "attack.steps=1", "attack.max_steps=3").code == 0
    (folder,) = (copied.path / "evaluation/attacks").glob("v00_cgc_s0_*")
    training = json.loads((folder / "training.json").read_text())
    assert training["steps"] == 3
    # as an older version left it: exploited and ended at step 2, with nothing of what is known today
    for key in ("fixed_reference_score", "steps_to_exploit_fixed"):
        del training[key]
    for key in ("min_steps", "min_samples"):
        del training["settings"][key]
    training.update(steps=2, steps_to_exploit=2)
    (folder / "training.json").write_text(json.dumps(training))
    done = json.loads((folder / "DONE").read_text())
    done["sha256"]["training.json"] = hashlib.sha256((folder / "training.json").read_bytes()).hexdigest()
    (folder / "DONE").write_text(json.dumps(done))
    assert legibility("evaluate", copied.path, "--quick", *SMALL).code == 0
    (old,) = section(copied, "attacks")
    assert (old["steps"], old["exploited"], old["trained"], old["fixed_reference"]) == (2, True, 2, None)
    assert legibility("attack", copied.path, *one, "attack.steps=3", "attack.max_steps=3").code == 0
    (new,) = section(copied, "attacks")
    assert new["trained"] == 3 and folder.is_dir() and new["fixed_reference"] is not None


@pytest.mark.parametrize(("reward", "start"), [("cgc", "base"), ("goodhart", "correctness")])
def test_kl_is_to_the_attacker_s_own_start(copied, monkeypatch, reward, start):
    """At step 1 an attacker is its start, be that the base policy or the correctness-only prover."""
    weak = SimpleNamespace(validation_helpful=0.0)  # so that a Goodhart attack starts from the trained prover
    monkeypatch.setattr(attack_module, "base_metrics", lambda run: weak)
    options = ("attack.max_steps=2", "attack.seeds=1", "attack.problems_per_step=3", "attack.goodhart_start=0.0")
    result = legibility("attack", copied.path, "--verifier", 0, "--reward", reward, *options)
    assert result.code == 0, result
    (folder,) = (copied.path / "evaluation/attacks").glob(f"v00_{reward}_*")
    assert json.loads((folder / "training.json").read_text())["start"] == start
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["kl"] == pytest.approx(0.0, abs=1e-3) and lines[1]["kl_k3"] > 1e-4
