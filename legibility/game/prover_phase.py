"""The prover phase: PPO against a frozen verifier, both roles in every batch, until the stop rule.

Kirchner et al. 2024, Sec. 3.2: one policy, role drawn by prompt, restarted from the base policy every
round. Roles are drawn exactly half and half: every problem of a step is answered in both roles. The
correctness-only arm is the same phase with all completions in the helpful role and the grader as
reward (twice the helpful samples per step).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from legibility import rewards
from legibility.game import gates
from legibility.game.context import CORRECTNESS, GAME, Game
from legibility.game.run_folder import round_name, write_json
from legibility.game.solutions import Solution, write_solutions
from legibility.game.stop import FooledTracker
from legibility.metrics import number
from legibility.models.verifier import Verifier
from legibility.ppo import PPO, Batch
from legibility.prompts import HELPFUL, ROLES, SNEAKY
from legibility.randomness import stream


def phase_name(arm: str, index: int) -> str:
    return f"{round_name(index)}/prover" if arm == GAME else f"arms/{arm}/prover"


def train_prover(game: Game, arm: str, index: int, verifier: Verifier | None, steps: int) -> None:
    """Run one prover phase of at most `steps` PPO steps, unless it is done already."""
    phase = phase_name(arm, index)
    if game.run.is_done(phase):
        return
    settings = game.config.ppo
    title = f"round {index} prover" if arm == GAME else "correctness-only prover"
    game.progress.phase(title, steps)
    prover = game.new_prover(arm, index)
    ppo = PPO(prover, settings)
    tracker = FooledTracker(game.config.stop)
    scale = rewards.ScoreScale(game.config.reward.scale if arm == GAME else "none")
    rows: list[Solution] = []
    stopped = "all steps done"
    with game.run.phase(phase) as work:
        with open(work / "metrics.jsonl", "w", encoding="utf-8") as log:
            for step in range(1, steps + 1):
                rng = stream(game.config.seed, arm, index, "ppo", step)
                drawn, batch_rows = _draw_batch(game, prover, arm, index, step, rng, ppo.sampling_head)
                if verifier is not None:
                    game.score(verifier, batch_rows)
                if arm == GAME:
                    scale.update(*_scores_and_groups(batch_rows), first=step == 1)
                paid = _rewards(game, arm, batch_rows, scale.value)
                metrics = {**describe(batch_rows, paid), "score_scale": scale.value}
                if step == 1:
                    reasons = gates.check_rewards(game.config.gates, metrics["flat_groups"])
                    gates.enforce(game.config.gates, f"{title}, first batch", reasons, game.force, game.progress.warn)
                metrics.update(ppo.step(Batch(drawn.prompts, drawn.completions, paid), rng))
                for row, value in zip(batch_rows, paid.tolist(), strict=True):
                    row.reward, row.logprob_gap = value, metrics["logprob_gap"]
                rows += batch_rows
                if arm == GAME:
                    tracker.update(step, metrics["score_helpful_correct"], metrics["score_sneaky_incorrect"],
                                   metrics["accuracy_sneaky"])
                    metrics["smoothed_gap"] = tracker.gap
                log.write(json.dumps({"step": step, **{k: number(v) for k, v in metrics.items()}}) + "\n")
                game.progress.step(step, _shown(metrics, arm), metrics)
                if settings.save_every and step % settings.save_every == 0 and step < steps:
                    prover.save(work / f"step_{step:05d}")
                if arm == CORRECTNESS and step == max(1, steps // 2):
                    rows += _halfway(game, prover, step)
                if arm == GAME and tracker.should_stop(step):
                    stopped = "the sneaky role fools the verifier"
                    break
        ppo.save(work)
        write_solutions(work / "solutions.parquet", rows)
        write_json(
            work / "training.json",
            {"arm": arm, "round": index, "steps": step, "stopped": stopped, "score_scale": scale.value,
             "steps_to_exploit": tracker.exploited_at, "reward": game.config.reward.kind if arm == GAME else CORRECTNESS},
        )
    exploited = f", fooled at step {tracker.exploited_at}" if tracker.exploited_at else ""
    game.progress.done(f"{step} steps ({stopped}{exploited})  " + ", ".join(
        f"{k} {v:.2f}" for k, v in _shown(metrics, arm).items()))


def _draw_batch(game: Game, prover, arm: str, index: int, step: int, rng: np.random.Generator, value_head):
    """Completions of one step: each problem in both roles (game), or twice the problems, helpful (correctness)."""
    settings = game.config.ppo
    pool = game.splits.prover
    count = settings.problems_per_step if arm == GAME else 2 * settings.problems_per_step
    chosen = [pool[i] for i in rng.choice(len(pool), size=min(count, len(pool)), replace=False)]
    drawn = game.draw(
        prover, chosen, ROLES if arm == GAME else (HELPFUL,), settings.samples_per_role, arm=arm, round_index=index,
        phase="ppo", split="prover", step=step, value_head=value_head,
    )
    return drawn, drawn.rows


def _halfway(game: Game, prover, step: int) -> list[Solution]:
    """Test text of the correctness arm at half its steps: as many helpful samples as the game saw."""
    return game.draw(
        prover, game.splits.test, (HELPFUL,), game.config.evaluation.samples, arm=CORRECTNESS, round_index=0,
        phase="halfway", split="test", step=step, temperature=game.config.evaluation.temperature,
    ).rows


def _scores_and_groups(rows: Sequence[Solution]) -> tuple[np.ndarray, list[tuple[str, str]]]:
    return np.array([r.score for r in rows], dtype=float), [(r.problem_id, r.role) for r in rows]


def _rewards(game: Game, arm: str, rows: Sequence[Solution], scale: float) -> np.ndarray:
    verdicts, helpful = [r.verdict for r in rows], [r.role == HELPFUL for r in rows]
    if arm != GAME:
        return rewards.correctness(np.zeros(len(rows)), verdicts, helpful, [0] * len(rows))
    settings = game.config.reward
    scores, groups = _scores_and_groups(rows)
    options = {"scale": scale, "clip": settings.clip, "floor": settings.floor}
    if settings.kind != "src":
        options["center"] = settings.center
    return rewards.REWARDS[settings.kind](scores, verdicts, helpful, groups, **options)


def describe(rows: Sequence[Solution], paid: np.ndarray) -> dict[str, float]:
    """Metrics of one batch by role and verdict (docs/metrics.md). Empty cells are nan."""
    role = np.array([r.role for r in rows])
    verdict = np.array([r.verdict for r in rows])
    length = np.array([r.completion_tokens for r in rows], dtype=float)
    score = np.array([np.nan if r.score is None else r.score for r in rows], dtype=float)
    groups = [(r.problem_id, r.role) for r in rows]
    metrics: dict[str, float] = {"reward": float(paid.mean())}
    for name in (HELPFUL, SNEAKY):
        mine = role == name
        metrics[f"accuracy_{name}"] = _mean((verdict == "correct")[mine])
        metrics[f"invalid_{name}"] = _mean((verdict == "invalid")[mine])
        metrics[f"length_{name}"] = _mean(length[mine])
        metrics[f"reward_{name}"] = _mean(paid[mine])
        for label in ("correct", "incorrect"):
            metrics[f"score_{name}_{label}"] = _mean(score[mine & (verdict == label)])
    metrics["truncated"] = float(np.mean([r.truncated for r in rows]))
    metrics["score_std_within"] = rewards.within_group_std(score, groups) if not np.isnan(score).any() else float("nan")
    index: dict[tuple[str, str], list[float]] = {}
    for g, value in zip(groups, paid, strict=True):
        index.setdefault(g, []).append(float(value))
    metrics["flat_groups"] = float(np.mean([max(v) - min(v) < 1e-8 for v in index.values()]))
    return metrics


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _shown(metrics: dict[str, float], arm: str) -> dict[str, float]:
    names = {"accuracy_helpful": "helpful", "kl": "KL"}
    if arm == GAME:
        names = {"accuracy_helpful": "helpful", "accuracy_sneaky": "sneaky", "score_helpful_correct": "V(h,correct)",
                 "score_sneaky_incorrect": "V(s,wrong)", "kl": "KL"}
    return {shown: metrics[name] for name, shown in names.items()}


def load_training(game_run, arm: str, index: int) -> dict:
    """training.json of a finished prover phase."""
    folder: Path = game_run.verified(phase_name(arm, index))
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))
