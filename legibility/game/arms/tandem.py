"""Tandem training: a frozen weak model takes over at random while the prover writes, and both are paid for the joint answer.

West et al. 2025 (arXiv 2510.13551), with reinforcement learning from verifiable rewards Jiao et al. 2026 (arXiv
2606.28166). The senior is the prover, the junior the verifier's base. What the senior writes has to be such that the
junior can go on with it. PPO learns from the senior's tokens alone; the junior's are what it meets. Departures: the
papers change writers after tokens or words and train by REINFORCE and GRPO; here by lines (a token is a setting) and by
the PPO of every other arm. What is collected and measured afterwards the senior writes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from legibility.config import Config
from legibility.errors import UserError
from legibility.game.arms.arm import Arm, Budget
from legibility.game.arms.joint_text import JointWriting
from legibility.game.collection import collect_arm
from legibility.game.condition import TANDEM
from legibility.game.context import Drawn, Game, WritingTask
from legibility.game.prover_phase import run_prover_phase
from legibility.game.prover_plan import correctness_plan, phase_name
from legibility.game.run_records import TandemTraining
from legibility.game.solutions import Solution
from legibility.models.prover import Prover
from legibility.models.weak_model import load_weak_model
from legibility.problems.records import Problem

SHARES = {"none": (0.0, 0.0), "less": (0.0, 0.5), "more": (0.5, 1.0)}
"""Texts by the share of tokens that the junior wrote: none, up to half of them, more."""


def check(config: Config, prover: Prover, device: str, base_dir: Path | None) -> None:
    """Raises UserError where the verifier's base cannot write along: no language model, or tokens that are no common ones."""
    junior = load_weak_model(config.verifier, device, base_dir)
    if config.rivals.tandem.unit == "token" and junior.tokenizer.get_vocab() != prover.tokenizer.get_vocab():
        raise UserError(
            "rivals.tandem.unit: token needs prover.model and verifier.model of one tokenizer, and these have two; set it to line"
        )
    if not junior.end_ids:
        raise UserError("rivals.tandem: verifier.model names no end token, so it could never end a text; use another")


def play(game: Game, budget: Budget) -> None:
    """Train the prover beside the junior, and collect what it writes alone."""
    if not game.run.is_done(phase_name(TANDEM, 0)):
        joint = JointWriting.load(game)
        plan = replace(
            correctness_plan(game, budget.steps),
            phase=phase_name(TANDEM, 0),
            title="tandem prover",
            arm=TANDEM,
            prover=lambda: game.new_prover(TANDEM),
            extra=None,
            gated=False,
            record=partial(TandemTraining, reward=TANDEM, unit=joint.settings.unit, share=joint.settings.share),
            trainer="ppo",
            write=partial(write, joint),
            beside=(joint.junior,),
            measure=lambda rollouts: measures(rollouts.rows),
            facts=measures,
        )
        run_prover_phase(game, plan)
    collect_arm(game, TANDEM)


def write(
    joint: JointWriting,
    game: Game,
    prover: Prover,
    problems: list[Problem],
    roles: tuple[str, ...],
    samples: int,
    **where: Any,
) -> Drawn:
    """`Game.draw` with the junior's turns. Raises UserError where the junior wrote everything."""
    tasks = [WritingTask(problem, role, prover.prompt_ids(problem, role)) for role in roles for problem in problems]
    drawn = game.draw_tasks(prover, tasks, samples, sampler=partial(joint.sample, tasks), **where)
    flat = [completion for group in drawn.completions for completion in group]
    if not any(completion.own_count for completion in flat):
        raise UserError(
            f"rivals.tandem.share: the weak model wrote all texts of a step, so there is nothing to learn from; give less than {joint.settings.share}"
        )
    for row, completion in zip(drawn.rows, flat, strict=True):
        row.junior_share = 1 - completion.own_count / len(completion.ids) if completion.ids else 1.0
    return drawn


def measures(rows: Sequence[Solution]) -> dict[str, float]:
    """The share of tokens that the junior wrote, and accuracy of the joint text by it (docs/metrics.md); nan without texts."""
    share = np.array([row.junior_share for row in rows], dtype=float)
    tokens = np.array([row.completion_tokens for row in rows], dtype=float)
    correct = np.array([row.verdict == "correct" for row in rows])
    found = {"junior_share": float((share * tokens).sum() / tokens.sum()) if tokens.sum() else float("nan")}
    for name, (above, most) in SHARES.items():
        mine = (share == 0) if name == "none" else (share > above) & (share <= most)
        found[f"accuracy_junior_{name}"] = float(correct[mine].mean()) if mine.any() else float("nan")
    return found


ARM = Arm("tandem", play, check=check)
