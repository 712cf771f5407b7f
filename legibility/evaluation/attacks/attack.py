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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from legibility.config import AttackSettings
from legibility.errors import UserError
from legibility.evaluation.finished_attacks import FOLDER, finished_attacks
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.schema import AttackRecord
from legibility.evaluation.text_sets import GOODHART
from legibility.evaluation.texts import COLLECTION, of_verdict, validation_texts
from legibility.game.base import base_metrics
from legibility.game.condition import CORRECTNESS, verifier
from legibility.game.prover_phase import Plan, phase_name, run_prover_phase
from legibility.game.rollout_columns import attack_reward, score_scale, verifier_rewards
from legibility.game.run_records import AttackSetup, AttackTraining
from legibility.game.solutions import read_solutions
from legibility.models.prover import Prover
from legibility.prompts import HELPFUL, SNEAKY


@dataclass(frozen=True)
class Attack:
    """One attack; `cap` is the step at which it is given up."""

    verifier: int
    reward: str
    seed: int
    cap: int

    @property
    def arm(self) -> str:
        """What its completions are labelled with, and one key of its random numbers."""
        return f"attack-{self.reward}-{self.seed}"

    @property
    def phase(self) -> str:
        """Its folder in the run."""
        return f"{FOLDER}/v{self.verifier:02d}_{self.reward}_s{self.seed}_c{self.cap}"

    @property
    def role(self) -> str:
        """The role it writes in."""
        return HELPFUL if self.reward == GOODHART else SNEAKY


class AttackTracker:
    """Watches one attack. `reference`: mean score of helpful-correct text the attacker must reach (not for Goodhart)."""

    reason = "the verifier is exploited"

    def __init__(self, settings: AttackSettings, reward: str, reference: float, ema: float) -> None:
        self.settings, self.reward, self.reference, self.ema = settings, reward, reference, ema
        self.smoothed: dict[str, float] = {}
        self.exploited_at: int | None = None

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of a PPO step (docs/metrics.md)."""
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
        """Whether the smoothed figures meet the criterion now."""
        if self.reward == GOODHART:
            return self.gap < 0
        return self.gap <= 0 and self.smoothed.get("incorrect", 0.0) >= self.settings.incorrect

    def should_stop(self, step: int) -> bool:
        """Whether the attack is over: it has succeeded once."""
        return self.exploited_at is not None


def run_attack(run: EvaluationRun, attack: Attack, *, quick: bool = False) -> AttackRecord:
    """Make one attack (or find it made) and return its record. Raises UserError where it cannot be made."""
    done = _finished(run, attack)
    if done is not None:
        return done
    game, settings = run.game, run.settings
    if attack.reward == "src" and settings.ppo.samples_per_role < 2:
        raise UserError("ppo.samples_per_role is 1, and SRC attacks need several samples a problem; use --reward cgc")
    start, prover = _starting_policy(run, attack)
    reward = attack_reward(settings.reward, attack.reward)
    reference = _reference(run, attack.verifier)

    plan = Plan(
        phase=attack.phase,
        title=f"{attack.reward.upper()} attack on verifier {attack.verifier}, seed {attack.seed}",
        arm=attack.arm,
        index=attack.verifier,
        steps=attack.cap,
        roles=(attack.role,),
        problems_per_step=settings.attack.problems_per_step or settings.ppo.problems_per_step,
        prover=prover,
        pay=lambda rollouts, scale: verifier_rewards(reward, rollouts, scale),
        verifier=game.saved_verifier(attack.verifier),
        scale=score_scale(reward),
        tracker=AttackTracker(settings.attack, attack.reward, reference, settings.stop.ema),
        extra=run.last_text(attack.role, arm=attack.arm, round_index=attack.verifier, phase="attack"),
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
            settings=_setup(run),
        ),
    )
    run_prover_phase(game, plan)
    made = _finished(run, attack)
    assert made is not None, f"{attack.phase} has just been made"
    return made


def _finished(run: EvaluationRun, attack: Attack) -> AttackRecord | None:
    """A finished attack that answers the same question: exploited, or not within at least the cap.

    Raises UserError where it was made under other settings.
    """
    setup = _setup(run)
    for made in finished_attacks(run.folder):
        record = made.record
        same = (record.verifier, record.reward, record.seed) == (attack.verifier, attack.reward, attack.seed)
        if same and (record.cap >= attack.cap or record.exploited):
            if record.settings != setup:
                raise UserError(
                    f"{run.folder.folder(made.phase)}: made under other attack settings "
                    f"({record.settings.model_dump()}); delete the folder to redo it, or use the same"
                )
            return record
    return None


def _setup(run: EvaluationRun) -> AttackSetup:
    """The settings that decide what an attack of a given cap does, beside the run's own."""
    s = run.settings.attack
    return AttackSetup(
        problems_per_step=s.problems_per_step or run.settings.ppo.problems_per_step,
        incorrect=s.incorrect,
        goodhart_accuracy=s.goodhart_accuracy,
        goodhart_start=s.goodhart_start,
    )


def _reference(run: EvaluationRun, index: int) -> float:
    """C(h, 1): mean score verifier i gives round i's helpful-correct validation text."""
    frame = validation_texts(run.folder, index)
    frame = of_verdict(frame[frame.role == HELPFUL], "correct")
    if not len(frame):
        raise UserError(
            f"{run.folder.path}: round {index} has no correct helpful validation text to compare an attack with"
        )
    return float(run.scores(verifier(index), frame).mean())


def _starting_policy(run: EvaluationRun, attack: Attack) -> tuple[str, Callable[[], Prover]]:
    """What the attacker starts from, by name, and a function that loads it.

    Raises UserError where no policy is accurate enough for a Goodhart attack.
    """
    game, least = run.game, run.settings.attack.goodhart_start
    base = ("base", lambda: game.new_prover(f"attack-{attack.reward}", attack.verifier, attack.seed))
    if attack.reward != GOODHART:
        return base
    accuracy = base_metrics(run.folder).validation_helpful
    if accuracy > least:
        return base
    found = f"the base policy has {accuracy:.3f}"
    if run.folder.is_done(COLLECTION):
        frame = read_solutions(run.folder.verified(COLLECTION) / "solutions.parquet")
        trained = float((frame[frame.split == "validation"].verdict == "correct").mean())
        if trained > least:
            return CORRECTNESS, lambda: game.saved_prover(run.folder.verified(phase_name(CORRECTNESS, 0)))
        found += f", the correctness-only prover {trained:.3f}"
    raise UserError(f"a Goodhart attack needs a start accuracy above {least:g} (validation problems); {found}")
