"""Rejection sampling: the best of n by the verifier, then supervised fine-tuning. The cheapest baseline.

The base policy writes as many completions as an arm of PPO steps does, `rivals.rft.samples` for each of as many problems
as that pays for. Of every problem the correct completion that the game's last verifier scores highest is kept (of all
completions, with `correct_only: false`), and the base policy is fine-tuned on what was kept: rejection-sampling
fine-tuning (Yuan et al. 2023, arXiv 2308.01825) with a verifier's choice, or one step of expert iteration. No reward
reaches a gradient, and there is no KL term: few passes over few texts are what keeps the policy near.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from legibility.errors import UserError
from legibility.game.arms.arm import Arm, Budget
from legibility.game.collection import collect_arm
from legibility.game.condition import RFT
from legibility.game.context import Game
from legibility.game.phase_checkpoints import phase_checkpoints
from legibility.game.phases import METRICS_LOG
from legibility.game.prover_plan import phase_name
from legibility.game.run_records import TRAINING, RejectionTraining
from legibility.game.solutions import Solution, write_solutions
from legibility.metrics import number
from legibility.models.prover import Prover, lora_config
from legibility.models.warm_start import WarmStartSoFar, warm_start
from legibility.problems.records import Problem
from legibility.prompts import HELPFUL
from legibility.randomness import derive_seed, stream
from legibility.stored import write_stored


def play(game: Game, budget: Budget) -> None:
    """Draw, choose, fine-tune and collect, unless it is done already.

    Raises UserError where no completion can be kept, or the fine-tuning fails.
    """
    if not game.run.is_done(phase_name(RFT, 0)):
        _train(game, budget.steps)
    collect_arm(game, RFT)


def problems_for(game: Game, steps: int) -> list[Problem]:
    """The problems that `steps` PPO steps' completions pay for, or all there are. In an order drawn once."""
    ppo, problems = game.config.ppo, game.splits.prover
    completions = steps * 2 * min(ppo.problems_per_step, len(problems)) * ppo.samples_per_role
    count = min(len(problems), max(1, round(completions / game.config.rivals.rft.samples)))
    return [problems[i] for i in stream(game.config.seed, RFT, "problems").permutation(len(problems))[:count]]


def best(rows: Sequence[Solution], *, correct_only: bool) -> list[Solution]:
    """Of every problem the completion with the highest score, the first of equals; none of a problem without a candidate.

    rows: scored completions, those of one problem in a row. A text cut off at the length limit or without a readable
    answer is never one.
    """
    kept = []
    for _, group in groupby(rows, key=lambda row: row.problem_id):
        candidates = [r for r in group if r.verdict == "correct" or (r.verdict == "incorrect" and not correct_only)]
        if candidates:
            kept.append(max(candidates, key=lambda row: -math.inf if row.score is None else row.score))
    return kept


def _train(game: Game, steps: int) -> None:
    settings, config, phase = game.config.rivals.rft, game.config, phase_name(RFT, 0)
    problems = problems_for(game, steps)
    rows = _drawn(game, problems, settings.samples)
    chosen = best(rows, correct_only=settings.correct_only)
    if not chosen:
        raise UserError(
            "game.arms: rft has nothing to learn from, since no completion is correct; give rivals.rft.samples more, or leave it out"
        )
    # full float32 weights: small learning rates get lost in bfloat16
    plain = config.prover.model_copy(update={"lora": None, "dtype": "float32", "gradient_checkpointing": False})
    prover = Prover.load(plain, game.device, source=game.base_source, base_dir=game.base_dir)
    prompts = [prover.prompt_text(game.problems[r.problem_id], HELPFUL) for r in chosen]
    pairs = [(prompt, prover.space_after(prompt) + r.text) for prompt, r in zip(prompts, chosen, strict=True)]
    order = stream(config.seed, RFT).permutation(len(pairs))
    batch = min(config.ppo.minibatch_size, len(pairs))
    updates = max(1, settings.epochs * len(pairs) // batch)
    game.progress.phase("rejection sampling", updates, f"{len(pairs)} of {len(problems)} problems have a text to learn")
    with game.run.phase(phase) as work, open(work / METRICS_LOG, "a", buffering=1, encoding="utf-8") as log:
        checkpoints = phase_checkpoints(game, phase, work, steps=steps)
        found = checkpoints.restore(WarmStartSoFar)
        if found is not None:
            game.progress.resumed(found.step + 1)

        def on_step(step: int, loss: float) -> None:
            log.write(json.dumps({"step": step, "loss": number(loss)}) + "\n")
            game.progress.step(step, {"loss": loss})

        losses = warm_start(
            prover.model,
            prover.tokenizer,
            [pairs[i] for i in order],
            out=work / "model",
            steps=updates,
            batch_size=batch,
            learning_rate=settings.learning_rate,
            max_length=config.prover.warm_start.max_length,
            seed=derive_seed(config.seed, RFT) % 2**31,
            device=game.device,
            bf16=config.prover.dtype == "bfloat16",
            lora=lora_config(config.prover),
            on_step=on_step,
            checkpoints=checkpoints,
            found=found,
        )
        _up(work / "model")
        write_solutions(work / "solutions.parquet", rows)
        facts = RejectionTraining(
            arm=RFT,
            round=0,
            steps=0,
            stopped="all texts learnt",
            score_scale=1.0,
            steps_to_exploit=None,
            reward=RFT,
            problems=len(problems),
            completions=len(rows),
            kept=len(chosen),
            updates=updates,
            first_loss=losses["first_loss"],
            last_loss=losses["last_loss"],
        )
        write_stored(work / TRAINING, facts)
    game.progress.done(f"{len(chosen)} texts, loss {losses['first_loss']:.3f} -> {losses['last_loss']:.3f}")


def _drawn(game: Game, problems: Sequence[Problem], samples: int) -> list[Solution]:
    """The base policy's completions, problem by problem, scored by the game's last verifier."""
    prover, verifier = game.new_prover(RFT), game.saved_verifier(game.config.game.rounds - 1)
    game.progress.phase("rejection sampling: completions", 1, f"{len(problems)} problems, {samples} each")
    with game.team.together(prover, verifier):
        rows = game.draw(
            prover, problems, (HELPFUL,), samples, arm=RFT, round_index=0, phase="rejection", split="prover", step=0
        ).rows
        game.score(verifier, rows)
    right = float(np.mean([row.verdict == "correct" for row in rows]))
    game.progress.done(f"{len(rows)} completions, {right:.3f} correct")
    return rows


def _up(folder: Path) -> None:
    """Move what is in a folder beside it, and the folder away."""
    for path in folder.iterdir():
        path.rename(folder.parent / path.name)
    folder.rmdir()


ARM = Arm("rft", play)
