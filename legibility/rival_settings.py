"""Arms: the ways of training a prover that are compared under one budget, and the settings of each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legibility.settings import Settings

ArmName = Literal["correctness", "length_penalised", "game", "decoupled", "tandem", "consultancy", "rft", "sneaky_step"]
"""An arm's name in `game.arms`."""
PLAIN_ARMS: tuple[ArmName, ...] = ("game", "correctness", "length_penalised")
"""Arms whose text is an answer to every problem in every role of a step, so that any trainer can draw it."""


class DecoupledSettings(Settings):
    """The decoupled game (Kim & Lee 2026, arXiv 2602.23248): a translator rewrites what a frozen solver wrote."""

    answer_given: bool = Field(
        True,
        description="Whether the sneaky translator is told the right answer, as in the paper, so that it can avoid it.",
    )
    solver_temperature: float = Field(
        0.7,
        gt=0,
        description="Temperature of the solutions that translators learn on (the paper's); validation and test solutions are drawn at sampling.evaluation_temperature.",
    )
    smoothing: float = Field(
        0.02, gt=0, le=1, description="Smoothing weight of the newest step in the stop rule (the paper's)."
    )
    floor: float = Field(
        -2.0,
        description="Reward of a translation that plays another role, or that convinces less than the group's mean.",
    )
    warm_start_steps: int = Field(
        0,
        ge=0,
        description="Steps of fine-tuning that teach the translator both prompts; 0 where the prover can follow them.",
    )
    warm_start_batch_size: int = Field(32, ge=1, description="Translations per step of that fine-tuning.")
    warm_start_learning_rate: float = Field(1e-4, gt=0, description="Its peak learning rate (linear decay).")


class TandemSettings(Settings):
    """Tandem training (arXiv 2510.13551, 2606.28166): a frozen weak model takes over at random while the prover writes."""

    unit: Literal["token", "line"] = Field(
        "line",
        description="Where the writers may change: after any token, or at ends of lines (any pair of tokenizers).",
    )
    share: float = Field(0.5, ge=0, lt=1, description="Chance that the weak model writes the next unit.")


class RejectionSettings(Settings):
    """Rejection sampling: the verifier's best of n solutions, then supervised fine-tuning on them."""

    samples: int = Field(8, ge=2, description="Completions drawn of each problem, of which one is kept.")
    correct_only: bool = Field(True, description="Choose among correct completions only.")
    learning_rate: float = Field(1e-4, gt=0, description="Learning rate of the fine-tuning.")
    epochs: int = Field(1, ge=1, description="Passes over the chosen texts.")


class RivalSettings(Settings):
    """Settings of single arms beside the game (docs/arms.md); what all share is set once, in the other sections."""

    decoupled: DecoupledSettings = Field(default_factory=DecoupledSettings)
    tandem: TandemSettings = Field(default_factory=TandemSettings)
    rft: RejectionSettings = Field(default_factory=RejectionSettings)
