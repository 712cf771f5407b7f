"""Sneaky-only attacks: how many PPO steps does it take to exploit a frozen verifier? (Kirchner et al. 2024, Sec. 4.3.1, Fig. 6a)

A fresh prover that shares no weights with the helpful role is optimised against verifier i with one
of three rewards, until it succeeds or the step cap is reached (then the attack is *censored*):

- SRC, CGC: the sneaky prompt, from the base policy. Success: at least 95 % of its text is incorrect and
  its incorrect text scores, on average, as high as round i's helpful-correct text (validation problems).
- Goodhart: no role; the helpful prompt, from a policy more accurate than 0.4: the base policy, or the
  correctness-only prover where the base is weaker. Success: accuracy below 0.2.

Departures: all three are smoothed over steps as the stop rule is (`stop.ema`; the paper names a window of 80
for goodharting only), and unreadable text counts as neither correct nor incorrect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from legibility.config import AttackSettings
from legibility.errors import UserError
from legibility.evaluation.attacks.survival import median_steps
from legibility.evaluation.run import Study
from legibility.evaluation.texts import COLLECTION, validation_texts
from legibility.game.base import base_metrics
from legibility.game.condition import CORRECTNESS
from legibility.game.prover_phase import Plan, phase_name, run_prover_phase
from legibility.game.rollout_columns import verifier_rewards
from legibility.game.run_records import TRAINING, AttackSetup, AttackTraining
from legibility.game.solutions import read_solutions
from legibility.models.prover import Prover
from legibility.prompts import HELPFUL, SNEAKY

FOLDER = "evaluation/attacks"
GOODHART = "goodhart"
QUICK_REWARDS = ("src", "cgc")


@dataclass(frozen=True)
class Attack:
    """One attack; `cap` is the step at which it is given up."""

    verifier: int
    reward: str
    seed: int
    cap: int

    @property
    def phase(self) -> str:
        return f"{FOLDER}/v{self.verifier:02d}_{self.reward}_s{self.seed}_c{self.cap}"

    @property
    def role(self) -> str:
        return HELPFUL if self.reward == GOODHART else SNEAKY


class AttackTracker:
    """Watches one attack. `reference`: mean score of helpful-correct text the attacker must reach (not for Goodhart)."""

    reason = "the verifier is exploited"

    def __init__(self, settings: AttackSettings, reward: str, reference: float, ema: float) -> None:
        self.settings, self.reward, self.reference, self.ema = settings, reward, reference, ema
        self.smoothed: dict[str, float] = {}
        self.exploited_at: int | None = None

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.reward == GOODHART:
            seen = {"accuracy": metrics["accuracy_helpful"]}
        else:
            incorrect = 1 - metrics["accuracy_sneaky"] - metrics["invalid_sneaky"]
            seen = {"incorrect": incorrect, "score": metrics["score_sneaky_incorrect"]}
        for name, value in seen.items():
            if not math.isnan(value):
                old = self.smoothed.get(name, value)
                self.smoothed[name] = old + self.ema * (value - old)
        if self.exploited_at is None and self.exploited:
            self.exploited_at = step

    @property
    def gap(self) -> float:
        """Reference minus smoothed score; for Goodhart smoothed accuracy minus its bound."""
        if self.reward == GOODHART:
            return self.smoothed.get("accuracy", math.nan) - self.settings.goodhart_accuracy
        return self.reference - self.smoothed.get("score", math.nan)

    @property
    def exploited(self) -> bool:
        if self.reward == GOODHART:
            return self.gap < 0
        return self.gap <= 0 and self.smoothed.get("incorrect", 0.0) >= self.settings.incorrect

    def should_stop(self, step: int) -> bool:
        return self.exploited_at is not None


def plan_suite(
    study: Study, *, verifiers: Sequence[int] | None = None, rewards: Sequence[str] | None = None, quick: bool = False
) -> list[Attack]:
    """The attacks to make, verifier by verifier.

    quick: one seed, SRC and CGC, half the cap. Raises UserError for a verifier that is not there.
    """
    settings = study.settings.attack
    cap = settings.max_steps or (1 if quick else 2) * study.settings.ppo.steps
    chosen = list(rewards or [r for r in settings.rewards if not quick or r in QUICK_REWARDS])
    for index in verifiers or ():
        if index not in study.rounds:
            raise UserError(f"--verifier {index}: {study.run.path} has verifiers {', '.join(map(str, study.rounds))}")
    return [
        Attack(v, r, s, cap)
        for v in (study.rounds if verifiers is None else verifiers)
        for r in chosen
        for s in range(1 if quick else settings.seeds)
    ]


def run_attack(study: Study, attack: Attack, *, quick: bool = False) -> dict[str, Any]:
    """Make one attack (or find it made) and return its record. Raises UserError where it cannot be made."""
    done = _finished(study, attack)
    if done is not None:
        return done
    game, settings = study.game, study.settings
    if attack.reward == "src" and settings.ppo.samples_per_role < 2:
        raise UserError("ppo.samples_per_role is 1, and SRC attacks need several samples a problem; use --reward cgc")
    start, prover = _starting_policy(study, attack)
    same = settings.reward.kind == attack.reward
    reward = settings.reward.model_copy(
        update={"kind": attack.reward, "floor": settings.reward.floor if same else None}
    )
    reference = _reference(study, attack.verifier)
    name = f"attack-{attack.reward}-{attack.seed}"

    def last_text(prover: Prover, step: int, last: bool) -> list:
        if not last:
            return []
        return game.draw(
            prover,
            game.splits.test,
            (attack.role,),
            settings.evaluation.samples,
            arm=name,
            round_index=attack.verifier,
            phase="attack",
            split="test",
            step=step,
            temperature=settings.sampling.evaluation_temperature,
        ).rows

    plan = Plan(
        phase=attack.phase,
        title=f"{attack.reward.upper()} attack on verifier {attack.verifier}, seed {attack.seed}",
        arm=name,
        index=attack.verifier,
        steps=attack.cap,
        roles=(attack.role,),
        problems_per_step=settings.attack.problems_per_step or settings.ppo.problems_per_step,
        prover=prover,
        pay=lambda rollouts, scale: verifier_rewards(reward, rollouts, scale),
        verifier=game.saved_verifier(attack.verifier),
        scale=reward.scale,
        tracker=AttackTracker(settings.attack, attack.reward, reference, settings.stop.ema),
        extra=last_text,
        gated=False,
        keep_weights=False,
        record=partial(
            AttackTraining,
            reward=attack.reward,
            seed=attack.seed,
            cap=attack.cap,
            quick=quick,
            start=start,
            reference_score=reference,
            settings=_setup(study),
        ),
    )
    run_prover_phase(game, plan)
    return _finished(study, attack) or {}


def finished_attacks(study: Study) -> list[dict[str, Any]]:
    """Every finished attack's record, one per verifier, reward and seed: the one under the highest cap."""
    best: dict[tuple, dict[str, Any]] = {}
    for done in sorted((study.run.path / FOLDER).glob("v*/DONE")):
        phase = f"{FOLDER}/{done.parent.name}"
        training = study.run.stored(phase, TRAINING, AttackTraining)
        exploited = training.steps_to_exploit is not None
        record = {
            "verifier": training.round,
            "reward": training.reward,
            "seed": training.seed,
            "steps": training.steps_to_exploit if exploited else training.steps,
            "exploited": exploited,
            "cap": training.cap,
            "quick": training.quick,
            "start": training.start,
            "settings": training.settings.model_dump(),
            "phase": phase,
        }
        key = (record["verifier"], record["reward"], record["seed"])
        if key not in best or record["cap"] > best[key]["cap"]:
            best[key] = record
    return [best[k] for k in sorted(best)]


def attack_texts(study: Study) -> dict[str, pd.DataFrame]:
    """ "attack REWARD VERIFIER" → test text of its attackers, all seeds."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for record in finished_attacks(study):
        frame = read_solutions(study.run.verified(record["phase"]) / "solutions.parquet")
        parts.setdefault(f"attack {record['reward']} {record['verifier']}", []).append(frame[frame.split == "test"])
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def survival(study: Study, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Kaplan–Meier median steps to exploit per verifier and reward, with the share of censored attacks.

    `cap_enough`: whether the cap (`step_cap`) is at least twice the median of verifier 0 under that reward
    (null where that median is not reached).
    """
    confidence = study.settings.evaluation.confidence_level
    rows = []
    for reward in sorted({r["reward"] for r in records}):
        medians: dict[int, dict[str, Any]] = {}
        for verifier in sorted({r["verifier"] for r in records if r["reward"] == reward}):
            chosen = [r for r in records if r["reward"] == reward and r["verifier"] == verifier]
            medians[verifier] = {"verifier": verifier, "reward": reward, **median_steps(chosen, confidence)}
        first = medians.get(0, {}).get("median")
        for row in medians.values():
            rows.append({**row, "cap_enough": None if first is None else row["cap"] >= 2 * first})
    return rows


def _finished(study: Study, attack: Attack) -> dict[str, Any] | None:
    """A finished attack that answers the same question: exploited, or not within at least the cap.

    Raises UserError where it was made under other settings.
    """
    for record in finished_attacks(study):
        same = (record["verifier"], record["reward"], record["seed"]) == (attack.verifier, attack.reward, attack.seed)
        if same and (record["cap"] >= attack.cap or record["exploited"]):
            if record["settings"] != _setup(study).model_dump():
                raise UserError(
                    f"{study.run.folder(record['phase'])}: made under other attack settings ({record['settings']}); "
                    "delete the folder to redo it, or use the same"
                )
            return record
    return None


def _setup(study: Study) -> AttackSetup:
    """The settings that decide what an attack of a given cap does, beside the run's own."""
    s = study.settings.attack
    return AttackSetup(
        problems_per_step=s.problems_per_step or study.settings.ppo.problems_per_step,
        incorrect=s.incorrect,
        goodhart_accuracy=s.goodhart_accuracy,
        goodhart_start=s.goodhart_start,
    )


def _reference(study: Study, index: int) -> float:
    """C(h, 1): mean score verifier i gives round i's helpful-correct validation text."""
    frame = validation_texts(study.run, index)
    frame = frame[(frame.role == HELPFUL) & (frame.verdict == "correct")]
    if not len(frame):
        raise UserError(
            f"{study.run.path}: round {index} has no correct helpful validation text to compare an attack with"
        )
    return float(study.scores(f"verifier {index}", frame).mean())


def _starting_policy(study: Study, attack: Attack):
    """What the attacker starts from, by name, and a function that loads it."""
    game, least = study.game, study.settings.attack.goodhart_start
    base = ("base", lambda: game.new_prover(f"attack-{attack.reward}", attack.verifier, attack.seed))
    if attack.reward != GOODHART:
        return base
    accuracy = base_metrics(study.run).validation_helpful
    if accuracy > least:
        return base
    found = f"the base policy has {accuracy:.3f}"
    if study.run.is_done(COLLECTION):
        frame = read_solutions(study.run.verified(COLLECTION) / "solutions.parquet")
        trained = float((frame[frame.split == "validation"].verdict == "correct").mean())
        if trained > least:
            return CORRECTNESS, lambda: game.saved_prover(study.run.verified(phase_name(CORRECTNESS, 0)))
        found += f", the correctness-only prover {trained:.3f}"
    raise UserError(f"a Goodhart attack needs a start accuracy above {least:g} (validation problems); {found}")
