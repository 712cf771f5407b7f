"""The prover phase: PPO until the plan's steps are done or its stop rule ends it. The one PPO loop of the package.

Kirchner et al. 2024, Sec. 3.2: one policy, restarted from the base policy every round, in both roles. What differs
between rounds, arms and attackers is in their plans (legibility.game.prover_plan).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch

from legibility.checkpoint_files import put_back
from legibility.checkpoints import Restored
from legibility.divergence import refuse_divergence
from legibility.game import gates
from legibility.game.condition import CORRECTNESS
from legibility.game.context import Drawn, Game
from legibility.game.phase_checkpoints import ProverSoFar, phase_checkpoints
from legibility.game.phases import METRICS_LOG, saved_prover_name, step_file
from legibility.game.prover_plan import Plan, correctness_plan, phase_name, round_plan
from legibility.game.rollout_columns import Rollouts, describe
from legibility.game.run_folder import RunFolder
from legibility.game.run_records import TRAINING, TRAININGS, ProverTraining
from legibility.game.solutions import Solution, read_rows, write_solutions
from legibility.game.trl_phase import phase_work, solutions
from legibility.held_signals import held_signals
from legibility.integrations.trl import TrlTrainer
from legibility.integrations.trl_work import PhaseWork, Task
from legibility.metrics import number
from legibility.models.verifier import Verifier
from legibility.ppo import PPO, Batch
from legibility.problems.records import Problem
from legibility.randomness import stream
from legibility.rewards import ScoreScale
from legibility.stored import write_stored

SHOWN = {
    "accuracy_helpful": "helpful",
    "accuracy_sneaky": "sneaky",
    "score_helpful_correct": "V(h,correct)",
    "score_sneaky_incorrect": "V(s,wrong)",
    "kl": "KL",
}

TRL_PACKAGES = ("trl", "accelerate", "datasets")
"""What decides a phase that TRL trains, beside what decides every phase."""

DIVERGED = (
    "lower ppo.learning_rate, or ppo.value_learning_rate where the value loss went first; huge rewards "
    "(reward.floor, ppo.kl_coefficient) do the same"
)


def train_prover(game: Game, arm: str, index: int, verifier: Verifier | None, steps: int) -> None:
    """The prover phase of a round or of the correctness-only arm, at most `steps` PPO steps, unless done already."""
    run_prover_phase(
        game, correctness_plan(game, steps) if arm == CORRECTNESS else round_plan(game, arm, index, verifier, steps)
    )


def run_prover_phase(game: Game, plan: Plan) -> None:
    """Run a prover phase as planned, unless it is done already.

    Raises GateClosed where the first batch of a gated phase leaves nothing to learn from, UserError for a score,
    reward, loss or weight that is no finite number.
    """
    if game.run.is_done(plan.phase):
        return
    game.progress.phase(plan.title, plan.steps)
    training = _Training(game, plan)
    with game.run.phase(plan.phase) as work:
        borrowed = () if plan.trainer == "ppo" else TRL_PACKAGES
        checkpoints = phase_checkpoints(game, plan.phase, work, borrowed, steps=plan.steps)
        training.go_on_from(checkpoints.restore(ProverSoFar), work)
        with (
            training.together(),
            open(work / METRICS_LOG, "a", buffering=1, encoding="utf-8") as log,
            checkpoints.during(training.so_far),
        ):
            for step in training.steps_left:
                rng = training.rng(step)
                with training.undisturbed():
                    drawn = training.sample(step, rng)
                with checkpoints.step(step):
                    rollouts = Rollouts.of(drawn.rows)
                    paid = training.pay(rollouts, step)
                    metrics = training.measure(rollouts, paid)
                    if step == 1:
                        training.check_gate(metrics)
                    metrics |= training.update(step, drawn, paid, rng)
                    metrics |= training.watch(step, metrics)
                    training.store_step(step, drawn.rows, work)
                    log.write(json.dumps({"step": step, **{k: number(v) for k, v in metrics.items()}}) + "\n")
                    training.show(step, metrics)
                    training.save_prover(step, work)
                    training.end_step(step, drawn.rows, work)
                if training.stopped:
                    break
        training.store(work)
    training.show_end()


class _Training:
    """A prover phase under way, one method for each thing a step does; the loop above has their order."""

    def __init__(self, game: Game, plan: Plan) -> None:
        self.game, self.plan = game, plan
        self.prover = plan.prover()
        self.ppo: PPO | TrlTrainer = (
            PPO(self.prover, game.config.ppo, game.team)
            if plan.trainer == "ppo"
            else TrlTrainer(self.prover, plan.verifier, game.config.ppo, game.team)
        )
        self.scale = ScoreScale(plan.scale)
        self.rows: list[Solution] = []
        self.done = 0
        self.stopped: str | None = None
        self.shown: dict[str, float] = {}
        self._saved: Mapping[str, torch.Tensor] | None = None  # of a checkpoint, until there is where to put them

    @property
    def steps_left(self) -> range:
        """The steps still to be made, unless the stop rule ends the phase before."""
        return range(self.done + 1, 1 if self.stopped else self.plan.steps + 1)

    def so_far(self) -> tuple[dict[str, torch.Tensor], ProverSoFar]:
        """What a checkpoint holds: tensors, and numbers. The completions are in the step files."""
        tracker = self.plan.tracker
        facts = ProverSoFar(
            scale=self.scale.value,
            least_scale=self.scale.least,
            tracker=None if tracker is None else tracker.so_far(),
            stopped=self.stopped,
            shown=self.shown,
        )
        return self.game.team.whole_tensors(self.ppo, type(self.ppo).trained_tensors), facts

    def go_on_from(self, found: Restored[ProverSoFar] | None, work: Path) -> None:
        """Be as the phase was when a checkpoint was written; None: it begins."""
        if found is None:
            return
        seen, tracker = found.state, self.plan.tracker
        self._saved = found.tensors
        self.scale.value, self.scale.least = seen.scale, seen.least_scale
        if tracker is not None and seen.tracker is not None:
            tracker.go_on_from(seen.tracker)
        self.rows = [row for step in range(1, found.step + 1) for row in read_rows(step_file(work, step))]
        self.done, self.stopped, self.shown = found.step, seen.stopped, seen.shown
        self.game.progress.resumed(found.step + 1)

    @contextmanager
    def together(self) -> Iterator[None]:
        """The team's processes, each with the models of the phase."""
        team = self.game.team
        if self._saved is not None and not team.shards:  # from here the other processes have them
            put_back(self._saved, self.ppo.trained_tensors())
        if isinstance(self.ppo, TrlTrainer):
            self._saved = None
            with self.ppo.at_work(self._work()):
                yield
            return
        members = (self.prover, self.ppo, self.ppo.value_head, self.plan.verifier, *self.plan.beside)
        with team.together(*members, gradients=sum(p.numel() for p in self.ppo.trained)):
            if self._saved is not None and team.shards:
                team.put_tensors(self.ppo, PPO.trained_tensors, self._saved)
            self._saved = None
            yield

    def undisturbed(self) -> AbstractContextManager[object]:
        """A block that signals interrupt; where weights are spread, whose end they wait for: what is saved after them has
        to be gathered, from ranks that are at rest."""
        return held_signals() if self.game.team.shards else nullcontext()

    def _problems(self, rng: np.random.Generator) -> list[Problem]:
        """Fresh problems for a step."""
        problems = self.game.splits.prover
        size = min(self.plan.problems_per_step, len(problems))
        return [problems[i] for i in rng.choice(len(problems), size=size, replace=False)]

    def sample(self, step: int, rng: np.random.Generator) -> Drawn:
        """Completions of fresh problems, each in every role of the plan, scored by the frozen verifier if there is one."""
        plan, settings = self.plan, self.game.config.ppo
        if isinstance(self.ppo, TrlTrainer):
            return Drawn(solutions(self.ppo.draw(), plan.arm, plan.index, step), [], [])
        drawn = plan.write(
            self.game,
            self.prover,
            self._problems(rng),
            plan.roles,
            settings.samples_per_role,
            arm=plan.arm,
            round_index=plan.index,
            phase="ppo",
            split="prover",
            step=step,
            value_head=self.ppo.sampling_head,
        )
        if plan.verifier is not None:
            self.game.score(plan.verifier, drawn.rows)
        return drawn

    def _work(self) -> PhaseWork:
        """What TRL's trainer is to do: the steps that are left, of the same problems that PPO would see."""
        plan, problems = self.plan, (self._problems(self.rng(step)) for step in self.steps_left)
        steps = [[Task(problem, role) for role in plan.roles for problem in step] for step in problems]
        return phase_work(self.game, plan.trainer, (plan.arm, plan.index), first=self.done + 1, steps=steps)

    def rng(self, step: int) -> np.random.Generator:
        """Randomness of a step: its problems, then the order of its minibatches."""
        return stream(self.game.config.seed, self.plan.arm, self.plan.index, "ppo", step)

    def pay(self, rollouts: Rollouts, step: int) -> np.ndarray:
        """Rewards (n,) of the completions; the scale of scores follows the batch first."""
        if rollouts.scored:
            self.scale.update(rollouts.scores, rollouts.group, first=step == 1)
        paid = self.plan.pay(rollouts, self.scale.value)
        largest = float(np.abs(paid).max(initial=0.0))
        refuse_divergence(
            self._at(step), {"a reward": largest}, f"look at reward.scale (the scale is {self.scale.value:.3g})"
        )
        return paid

    def measure(self, rollouts: Rollouts, paid: np.ndarray) -> dict[str, float]:
        """Metrics of the batch before the update."""
        return {**describe(rollouts, paid), "score_scale": self.scale.value, **self.plan.measure(rollouts)}

    def check_gate(self, metrics: Mapping[str, float]) -> None:
        """Refuse to go on where hardly any group of the first batch has differing rewards."""
        if self.plan.gated:
            settings, where = self.game.config.gates, f"{self.plan.title}, first batch"
            reasons = gates.check_rewards(settings, metrics["flat_groups"])
            gates.enforce(settings, where, reasons, self.game.force, self.game.progress.warn)

    def update(self, step: int, drawn: Drawn, paid: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
        """One PPO step; the completions are kept with their rewards. Returns its metrics."""
        if isinstance(self.ppo, TrlTrainer):
            metrics = self.ppo.step(paid)
        else:
            metrics = self.ppo.step(Batch(drawn.prompts, drawn.completions, paid), rng)
        watched = "policy_loss", "value_loss", "grad_norm"
        losses: dict[str, float] = {name: metrics[name] for name in watched if name in metrics}
        refuse_divergence(self._at(step), losses, DIVERGED, self.ppo.trained)
        if "logprob_gap" in metrics:  # TRL's trainers keep no log-probs of the sampler's
            gates.check_gaps(self.game.config.ppo, self.game.config.prover.dtype, metrics)
        for row, value in zip(drawn.rows, paid.tolist(), strict=True):
            row.reward, row.logprob_gap = value, metrics.get("logprob_gap")
        self.rows += drawn.rows
        return metrics

    def store_step(self, step: int, rows: Sequence[Solution], work: Path) -> None:
        """Put the step's completions where a resume, and whoever watches the run, find them."""
        write_solutions(step_file(work, step), rows)

    def _at(self, step: int) -> str:
        return f"{self.plan.title}, step {step}"

    def watch(self, step: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Show the step to the stop rule. Returns how far the verifier is from being fooled."""
        tracker = self.plan.tracker
        if tracker is None:
            return {}
        tracker.observe(step, metrics)
        return {"smoothed_gap": tracker.gap}

    def show(self, step: int, metrics: Mapping[str, float]) -> None:
        """The step on screen and in the trackers."""
        self.shown = {name: metrics[key] for key, name in SHOWN.items() if np.isfinite(metrics[key])}
        self.game.progress.step(step, self.shown, metrics)

    def save_prover(self, step: int, work: Path) -> None:
        """Save the prover as it is now, every `ppo.save_every` steps."""
        every = self.game.config.ppo.save_every
        if self.plan.keep_weights and every and step % every == 0 and step < self.plan.steps:
            self.game.team.whole(self.prover).save(work / saved_prover_name(step))

    def end_step(self, step: int, rows: Sequence[Solution], work: Path) -> None:
        """See whether the stop rule ends the phase here, and draw what the plan wants drawn after the step."""
        tracker = self.plan.tracker
        if tracker is not None and tracker.should_stop(step):
            self.stopped = tracker.reason
        if self.plan.extra is not None:
            more = self.plan.extra(self.prover, step, bool(self.stopped) or step == self.plan.steps)
            if more:
                self.rows += more
                self.store_step(step, [*rows, *more], work)
        self.done = step

    def store(self, work: Path) -> None:
        """Weights, completions and training.json."""
        if self.plan.keep_weights:
            self.ppo.save(work)
        write_solutions(work / "solutions.parquet", self.rows)
        facts = self.plan.record(
            arm=self.plan.arm,
            round=self.plan.index,
            steps=self.done,
            stopped=self._ending,
            score_scale=self.scale.value,
            steps_to_exploit=self._exploited_at,
            **self.plan.facts(self.rows),
        )
        write_stored(work / TRAINING, facts)

    def show_end(self) -> None:
        """The phase's last line on screen."""
        exploited = f", fooled at step {self._exploited_at}" if self._exploited_at else ""
        self.game.progress.done(
            f"{self.done} steps ({self._ending}{exploited})  "
            + ", ".join(f"{k} {v:.2f}" for k, v in self.shown.items())
        )

    @property
    def _ending(self) -> str:
        return self.stopped or "all steps done"

    @property
    def _exploited_at(self) -> int | None:
        return None if self.plan.tracker is None else self.plan.tracker.exploited_at


def load_training(run: RunFolder, arm: str, index: int) -> ProverTraining:
    """training.json of a finished prover phase. Raises UserError where the phase is unfinished or changed."""
    return run.stored(phase_name(arm, index), TRAINING, TRAININGS.get(arm, ProverTraining))
