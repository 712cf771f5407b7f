"""The prover phase: PPO against a frozen verifier, both roles in every batch, until the stop rule.

Kirchner et al. 2024, Sec. 3.2: one policy, role drawn by prompt, restarted from the base policy every
round. Roles are drawn exactly half and half: every problem of a step is answered in both roles. The
correctness-only arm is the same phase with all completions in the helpful role and the grader as
reward (twice the helpful samples per step). `run_prover_phase` is the one PPO loop of the package:
evaluation's attackers and its length-penalised arm are other plans for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from legibility.game import gates
from legibility.game.condition import CORRECTNESS, GAME
from legibility.game.context import Drawn, Game
from legibility.game.rollout_columns import Rollouts, correctness_rewards, describe, verifier_rewards
from legibility.game.run_folder import RunFolder, round_name
from legibility.game.run_records import TRAINING, ProverTraining
from legibility.game.solutions import Solution, write_solutions
from legibility.game.stop import FooledTracker, Tracker
from legibility.metrics import number
from legibility.models.prover import Prover
from legibility.models.value_head import ValueHead
from legibility.models.verifier import Verifier
from legibility.ppo import PPO, Batch
from legibility.prompts import HELPFUL, ROLES
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


@dataclass(frozen=True)
class Plan:
    """One prover phase: who writes, what is paid, when it ends.

    `arm` and `index` key its random numbers and label its completions. `pay(rollouts, scale)` returns the
    rewards (n,); `record` makes the phase's training.json. `extra(prover, step, last)` may return more
    completions to store, after every step. Without a `verifier` nothing is scored; without a `tracker` all
    steps are done.
    """

    phase: str
    title: str
    arm: str
    index: int
    steps: int
    roles: tuple[str, ...]
    problems_per_step: int
    prover: Callable[[], Prover]
    pay: Callable[[Rollouts, float], np.ndarray]
    record: Callable[..., ProverTraining]  # makes training.json of what the loop knows
    verifier: Verifier | None = None
    scale: Literal["calibrated", "running", "none"] = "none"
    tracker: Tracker | None = None
    extra: Callable[[Prover, int, bool], list[Solution]] | None = None
    gated: bool = True
    keep_weights: bool = True


def phase_name(arm: str, index: int) -> str:
    """The phase in which an arm's prover of round `index` is trained: its folder inside the run."""
    return f"{round_name(index)}/prover" if arm == GAME else f"arms/{arm}/prover"


def train_prover(game: Game, arm: str, index: int, verifier: Verifier | None, steps: int) -> None:
    """The prover phase of a round or of the correctness-only arm, at most `steps` PPO steps, unless done already."""
    settings = game.config
    plan = Plan(
        phase=phase_name(arm, index),
        title=f"round {index} prover",
        arm=arm,
        index=index,
        steps=steps,
        roles=ROLES,
        problems_per_step=settings.ppo.problems_per_step,
        prover=lambda: game.new_prover(arm, index),
        pay=lambda rollouts, scale: verifier_rewards(settings.reward, rollouts, scale),
        verifier=verifier,
        scale=settings.reward.scale,
        tracker=FooledTracker(settings.stop),
        record=partial(ProverTraining, reward=settings.reward.kind),
    )
    if arm == CORRECTNESS:
        plan = replace(
            plan,
            title="correctness-only prover",
            roles=(HELPFUL,),
            problems_per_step=2 * settings.ppo.problems_per_step,
            pay=lambda rollouts, _: correctness_rewards(rollouts),
            scale="none",
            tracker=None,
            extra=lambda prover, step, _: _halfway(game, prover, step) if step == max(1, steps // 2) else [],
            record=partial(ProverTraining, reward=CORRECTNESS),
        )
    run_prover_phase(game, plan)


def run_prover_phase(game: Game, plan: Plan) -> None:
    """Run a prover phase as planned, unless it is done already."""
    if game.run.is_done(plan.phase):
        return
    settings = game.config.ppo
    game.progress.phase(plan.title, plan.steps)
    prover = plan.prover()
    ppo = PPO(prover, settings, game.team)
    members = (prover, ppo, ppo.value_head, plan.verifier)
    scale = ScoreScale(plan.scale)
    rows: list[Solution] = []
    stopped = "all steps done"
    with game.run.phase(plan.phase) as work:
        with (
            game.team.together(*members, gradients=sum(p.numel() for p in ppo.trained)),
            open(work / "metrics.jsonl", "w", encoding="utf-8") as log,
        ):
            for step in range(1, plan.steps + 1):
                rng = stream(game.config.seed, plan.arm, plan.index, "ppo", step)
                drawn = _draw_batch(game, prover, plan, step, rng, ppo.sampling_head)
                if plan.verifier is not None:
                    game.score(plan.verifier, drawn.rows)
                rollouts = Rollouts.of(drawn.rows)
                if rollouts.scored:
                    scale.update(rollouts.scores, rollouts.group, first=step == 1)
                paid = plan.pay(rollouts, scale.value)
                metrics = {**describe(rollouts, paid), "score_scale": scale.value}
                if step == 1 and plan.gated:
                    reasons = gates.check_rewards(game.config.gates, metrics["flat_groups"])
                    gates.enforce(
                        game.config.gates, f"{plan.title}, first batch", reasons, game.force, game.progress.warn
                    )
                metrics.update(ppo.step(Batch(drawn.prompts, drawn.completions, paid), rng))
                for row, value in zip(drawn.rows, paid.tolist(), strict=True):
                    row.reward, row.logprob_gap = value, metrics["logprob_gap"]
                rows += drawn.rows
                if plan.tracker is not None:
                    plan.tracker.observe(step, metrics)
                    metrics["smoothed_gap"] = plan.tracker.gap
                log.write(json.dumps({"step": step, **{k: number(v) for k, v in metrics.items()}}) + "\n")
                shown = {name: metrics[key] for key, name in SHOWN.items() if not np.isnan(metrics[key])}
                game.progress.step(step, shown, metrics)
                if plan.keep_weights and settings.save_every and step % settings.save_every == 0 and step < plan.steps:
                    prover.save(work / f"step_{step:05d}")
                fooled = plan.tracker is not None and plan.tracker.should_stop(step)
                if plan.extra is not None:
                    rows += plan.extra(prover, step, fooled or step == plan.steps)
                if plan.tracker is not None and fooled:
                    stopped = plan.tracker.reason
                    break
        if plan.keep_weights:
            ppo.save(work)
        write_solutions(work / "solutions.parquet", rows)
        exploited_at = plan.tracker.exploited_at if plan.tracker is not None else None
        facts = plan.record(
            arm=plan.arm,
            round=plan.index,
            steps=step,
            stopped=stopped,
            score_scale=scale.value,
            steps_to_exploit=exploited_at,
        )
        write_stored(work / TRAINING, facts)
    exploited = f", fooled at step {exploited_at}" if exploited_at else ""
    game.progress.done(f"{step} steps ({stopped}{exploited})  " + ", ".join(f"{k} {v:.2f}" for k, v in shown.items()))


def _draw_batch(
    game: Game, prover: Prover, plan: Plan, step: int, rng: np.random.Generator, value_head: ValueHead | None
) -> Drawn:
    """Completions of one step: each of its problems in every role of the plan."""
    problems = game.splits.prover
    size = min(plan.problems_per_step, len(problems))
    chosen = [problems[i] for i in rng.choice(len(problems), size=size, replace=False)]
    return game.draw(
        prover,
        chosen,
        plan.roles,
        game.config.ppo.samples_per_role,
        arm=plan.arm,
        round_index=plan.index,
        phase="ppo",
        split="prover",
        step=step,
        value_head=value_head,
    )


def _halfway(game: Game, prover: Prover, step: int) -> list[Solution]:
    """Test text of the correctness arm at half its steps: as many helpful samples as the game saw."""
    return game.draw(
        prover,
        game.splits.test,
        (HELPFUL,),
        game.config.evaluation.samples,
        arm=CORRECTNESS,
        round_index=0,
        phase="halfway",
        split="test",
        step=step,
        temperature=game.config.sampling.evaluation_temperature,
    ).rows


def load_training(run: RunFolder, arm: str, index: int) -> ProverTraining:
    """training.json of a finished prover phase. Raises UserError where the phase is unfinished or changed."""
    return run.stored(phase_name(arm, index), TRAINING, ProverTraining)
