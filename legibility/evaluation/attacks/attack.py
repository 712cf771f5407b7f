"""Sneaky-only attacks: how many PPO steps does it take to exploit a frozen verifier? (Kirchner et al. 2024, Sec. 4.3.1, Fig. 6a)

A fresh prover that shares no weights with the helpful role is optimised against verifier i with one
of three rewards, for `attack.steps` steps, and on until it succeeds or the step cap is reached (then the
attack is *censored*). Going on after success is what makes attackers comparable at equal steps.

- SRC, CGC: the sneaky prompt, from the base policy. Success: at least 95 % of its text is incorrect and
  its incorrect text scores, on average, as high as round i's helpful-correct text (validation problems).
  Beside it, the same against round 0's helpful-correct text: one reference for all verifiers.
- Goodhart: no role; the helpful prompt, from a policy more accurate than 0.4: the base policy, or the
  correctness-only prover where the base is weaker. Success: accuracy below 0.2.

Departures: all three are smoothed over steps as the stop rule is (`stop.ema`; the paper names a window of 80
for goodharting only) and need as much evidence (`stop.min_steps`, `stop.min_samples`), and unreadable text counts
as neither correct nor incorrect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from legibility.config import AttackSettings, StopSettings
from legibility.errors import UserError
from legibility.evaluation.attack_schema import AttackRecord
from legibility.evaluation.finished_attacks import FOLDER, attacks_on_readers, finished_attacks
from legibility.evaluation.run import EvaluationRun
from legibility.evaluation.text_sets import GOODHART
from legibility.evaluation.texts import COLLECTION, arm_validation, helpful_correct, of_verdict
from legibility.game.base import base_metrics
from legibility.game.condition import CORRECTNESS, Judge, reader, verifier
from legibility.game.prover_phase import run_prover_phase
from legibility.game.prover_plan import Plan, phase_name
from legibility.game.rollout_columns import attack_reward, score_scale, verifier_rewards
from legibility.game.run_records import AttackSetup, AttackTraining
from legibility.game.solutions import read_solutions
from legibility.game.stop import SmoothedTracker, TrackerSoFar
from legibility.models.prover import Prover
from legibility.prompts import HELPFUL, SNEAKY


@dataclass(frozen=True)
class Attack:
    """One attack; `cap` is the step at which it is given up, `steps` how many it makes even once it has succeeded.

    reader: the arm whose reader is attacked instead of a round's verifier; `verifier` is 0 then.
    """

    verifier: int
    reward: str
    seed: int
    cap: int
    steps: int
    reader: str | None = None

    @property
    def judge(self) -> Judge:
        """What is attacked."""
        return verifier(self.verifier) if self.reader is None else reader(self.reader)

    @property
    def arm(self) -> str:
        """What its completions are labelled with, and one key of its random numbers."""
        return f"attack-{self.reward}-{self.seed}"

    @property
    def phase(self) -> str:
        """Its folder in the run."""
        whom = f"v{self.verifier:02d}" if self.reader is None else f"reader_{self.reader}"
        return f"{FOLDER}/{whom}_{self.reward}_s{self.seed}_n{self.steps}_c{self.cap}"

    @property
    def role(self) -> str:
        """The role it writes in."""
        return HELPFUL if self.reward == GOODHART else SNEAKY


class AttackTracker(SmoothedTracker):
    """Watches one attack, which goes on for `steps` PPO steps even once it has succeeded.

    reference: mean score of helpful-correct text of the verifier's own round, which the attacker must reach;
    fixed_reference: the same of round 0's (neither for Goodhart). The attack ends when both are reached.
    """

    reason = "the verifier is exploited"

    def __init__(
        self,
        settings: AttackSettings,
        reward: str,
        reference: float,
        stop: StopSettings,
        *,
        fixed_reference: float | None = None,
        steps: int = 0,
    ) -> None:
        super().__init__(stop, ("accuracy",) if reward == GOODHART else ("incorrect", "score"))
        self.attack, self.reward, self.steps = settings, reward, steps
        self.reference = reference
        self.fixed_reference = reference if fixed_reference is None else fixed_reference
        self.fixed_exploited_at: int | None = None

    def read(self, metrics: Mapping[str, float]) -> Mapping[str, tuple[float, float]]:
        """As in `SmoothedTracker`."""
        if self.reward == GOODHART:
            return {"accuracy": (metrics["accuracy_helpful"], metrics["texts_helpful"])}
        return {
            "incorrect": (1 - metrics["accuracy_sneaky"] - metrics["invalid_sneaky"], metrics["texts_sneaky"]),
            "score": (metrics["score_sneaky_incorrect"], metrics["texts_sneaky_incorrect"]),
        }

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take in the metrics of a PPO step (docs/metrics.md)."""
        super().observe(step, metrics)
        if self.fixed_exploited_at is None and self.enough(step) and self._reaches(self.fixed_reference):
            self.fixed_exploited_at = step

    def so_far(self) -> TrackerSoFar:
        """As in `Tracker`."""
        return super().so_far().model_copy(update={"fixed_exploited_at": self.fixed_exploited_at})

    def go_on_from(self, seen: TrackerSoFar) -> None:
        """As in `Tracker`."""
        super().go_on_from(seen)
        self.fixed_exploited_at = seen.fixed_exploited_at

    @property
    def gap(self) -> float:
        """Reference minus smoothed score; for Goodhart smoothed accuracy minus its bound."""
        return self._gap(self.reference)

    @property
    def exploited(self) -> bool:
        """Whether the smoothed figures meet the criterion now."""
        return self._reaches(self.reference)

    def should_stop(self, step: int) -> bool:
        """Whether the attack is over: it has made its steps, and has succeeded against both references."""
        return step >= self.steps and self.exploited_at is not None and self.fixed_exploited_at is not None

    def _gap(self, reference: float) -> float:
        if self.reward == GOODHART:
            return self.averages["accuracy"].value - self.attack.goodhart_accuracy
        return reference - self.averages["score"].value

    def _reaches(self, reference: float) -> bool:
        if self.reward == GOODHART:
            return self._gap(reference) < 0
        return self._gap(reference) <= 0 and self.averages["incorrect"].value >= self.attack.incorrect


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
    reference, fixed_reference = _reference(run, attack), _reference(run, attack, fixed=True)
    tracker = AttackTracker(
        settings.attack, attack.reward, reference, settings.stop, fixed_reference=fixed_reference, steps=attack.steps
    )

    plan = Plan(
        phase=attack.phase,
        title=f"{attack.reward.upper()} attack on {attack.judge.label}, seed {attack.seed}",
        arm=attack.arm,
        index=attack.verifier,
        steps=attack.cap,
        roles=(attack.role,),
        problems_per_step=settings.attack.problems_per_step or settings.ppo.problems_per_step,
        prover=prover,
        pay=lambda rollouts, scale: verifier_rewards(reward, rollouts, scale),
        verifier=game.saved_judge(attack.judge),
        scale=score_scale(reward),
        tracker=tracker,
        extra=run.last_text(attack.role, arm=attack.arm, round_index=attack.verifier, phase="attack"),
        gated=False,
        keep_weights=False,
        record=lambda **facts: AttackTraining(
            **facts,
            reward=attack.reward,
            seed=attack.seed,
            cap=attack.cap,
            equal_steps=attack.steps,
            quick=quick,
            start=start,
            reader=attack.reader,
            reference_score=reference,
            fixed_reference_score=fixed_reference,
            steps_to_exploit_fixed=tracker.fixed_exploited_at,
            settings=_setup(run),
        ),
    )
    run_prover_phase(game, plan)
    made = _finished(run, attack)
    assert made is not None, f"{attack.phase} has just been made"
    return made


def _finished(run: EvaluationRun, attack: Attack) -> AttackRecord | None:
    """A finished attack that answers the same question: of as many steps, and exploited or not within the cap.

    Raises UserError where it was made under other settings.
    """
    setup = _setup(run)
    for made in (finished_attacks if attack.reader is None else attacks_on_readers)(run.folder):
        record = made.record
        same = (record.reader, record.verifier, record.reward, record.seed) == (
            attack.reader,
            attack.verifier,
            attack.reward,
            attack.seed,
        )
        if same and record.watched >= attack.steps and (record.watched >= attack.cap or _over(record, setup)):
            known = record.settings.model_dump(exclude_none=True)
            if known != setup.model_dump(include=set(known)):
                raise UserError(
                    f"{run.folder.folder(made.phase)}: made under other attack settings "
                    f"({record.settings.model_dump()}); delete the folder to redo it, or use the same"
                )
            return record
    return None


def _over(record: AttackRecord, setup: AttackSetup) -> bool:
    """Whether more steps would add nothing: exploited, against both references, and not before that may count."""
    early = record.steps < (setup.min_steps or 0)  # of an older version, which asked for no least step
    return record.exploited and not early and (record.fixed_reference is None or record.fixed_reference.exploited)


def _setup(run: EvaluationRun) -> AttackSetup:
    """The settings that decide what an attack of a given cap does, beside the run's own."""
    s = run.settings.attack
    return AttackSetup(
        problems_per_step=s.problems_per_step or run.settings.ppo.problems_per_step,
        incorrect=s.incorrect,
        goodhart_accuracy=s.goodhart_accuracy,
        goodhart_start=s.goodhart_start,
        min_steps=run.settings.stop.min_steps,
        min_samples=run.settings.stop.min_samples,
    )


def _reference(run: EvaluationRun, attack: Attack, *, fixed: bool = False) -> float:
    """C(h, 1): mean score that the attacked judge gives helpful-correct validation text, of its own round or arm.

    fixed: of round 0, the same text for every judge.
    """
    if fixed:
        frame, whose = helpful_correct(run.folder, 0), "round 0"
    elif attack.reader is None:
        frame, whose = helpful_correct(run.folder, attack.verifier), f"round {attack.verifier}"
    else:
        frame = arm_validation(run.folder, attack.reader)
        frame, whose = of_verdict(frame[frame.role == HELPFUL], "correct"), f"the arm {attack.reader}"
    if not len(frame):
        raise UserError(f"{run.folder.path}: {whose} has no correct helpful validation text to compare an attack with")
    return float(run.scores(attack.judge, frame).mean())


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
