"""Settings of the two players: which models they are, and how they are prepared, read and trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from legibility.settings import Settings


class LoraSettings(Settings):
    """Low-rank adapters (peft) instead of full weights."""

    r: int = Field(16, ge=1, description="Rank of the adapter matrices.")
    alpha: int = Field(32, ge=1, description="Scale of the adapter, divided by r.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the linear layers that get an adapter."
    )


class WarmStartSettings(Settings):
    """Short supervised fine-tuning of the prover on reference solutions before the game.

    The sneaky role can learn its form at the same time, from the same solutions with one number changed.
    """

    steps: int = Field(0, ge=0, description="Optimizer steps; 0 leaves the model as loaded.")
    batch_size: int = Field(8, ge=1, description="Solutions per step.")
    learning_rate: float = Field(1e-4, gt=0, description="Peak learning rate (linear decay).")
    max_length: int = Field(
        256, ge=16, description="Longest prompt plus solution, in tokens; longer ones are left out."
    )
    sneaky: Literal["none", "corrupted"] = Field(
        "none",
        description="What the sneaky prompt learns at the same time: nothing, or each solution with one number changed and every later one recomputed (its answer is wrong).",
    )


class ProverSettings(Settings):
    """The large language model that writes solutions in both roles."""

    model: str = Field(
        "nano", description='Hub id, local folder (a LoRA adapter is merged), or "nano" for the built-in prover.'
    )
    revision: str | None = Field(
        None, min_length=1, description="Branch, tag or commit of a hub id (null: the newest; the commit is recorded)."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    attention: Literal["flex_attention"] | None = Field(
        None,
        description="Attention implementation (null: transformers' own choice). flex_attention (GPU) packs texts without padding.",
    )
    lora: LoraSettings | None = Field(None, description="Train adapters instead of full weights (null: full).")
    trainer: Literal["ppo", "grpo", "rloo"] = Field(
        "ppo",
        description="What trains the prover of a round and of the correctness-only arms: our PPO, or TRL's GRPO or RLOO (extra trl), "
        "which have no critic. Attackers of an evaluation are always PPO's.",
    )
    prompts: str = Field("nano", description='Name of a built-in prompt set ("nano", "tutor", "plain") or a YAML file.')
    chat_template: bool | str = Field(
        False, description="Wrap prompts in the tokenizer's chat template (true), or in the one of that name."
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations to save memory.")
    warm_start: WarmStartSettings = Field(
        default_factory=WarmStartSettings, description="Supervised steps on reference solutions before the game."
    )


class VerifierSettings(Settings):
    """The small model that scores solutions; trained anew every round (paper Sec. 3.2)."""

    model: str = Field(
        "nano",
        description='Hub id, folder, "nano" (= nano-m) or nano-xs | nano-s | nano-m | nano-equal, '
        'each also with "-marked" (taught to check steps).',
    )
    revision: str | None = Field(
        None, min_length=1, description="Branch, tag or commit of a hub id (null: the newest; the commit is recorded)."
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Type of the weights.")
    attention: Literal["flex_attention"] | None = Field(
        None,
        description="Attention implementation (null: transformers' own choice). flex_attention (GPU) packs texts without padding.",
    )
    layers: int | None = Field(None, ge=1, description="Keep only this many first layers of the model (null: all).")
    template: str = Field(
        "{problem}\n\n{solution}", description="Text the verifier reads; it never contains role or answer."
    )
    score: Literal["last_token", "likelihood", "token"] = Field(
        "last_token",
        description="What a score is made of: a head on the last token (the paper's), that head and the verifier's own "
        "log-likelihood of the solution (its mean and soft minimum over tokens, with learned weights), or a head on every "
        "solution token. The last two need a causal language model.",
    )
    pooling: Literal["mean", "soft_min"] = Field(
        "soft_min", description="How score: token pools its values over the solution's tokens."
    )
    lm_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the next-token loss on correct solutions beside the verifier's loss (Cobbe et al. 2021).",
    )
    ensemble: int = Field(
        1,
        ge=1,
        description="Verifiers trained from this many seeds on the same text and read by a soft minimum of their scores. "
        "Scoring and training cost as many times more.",
    )
    loss: Literal["pairwise", "cross_entropy"] = Field(
        "pairwise", description="Within-problem Bradley-Terry loss (the paper's) or cross-entropy on the verdict."
    )
    l2: float = Field(0.005, ge=0, description="Weight of the squared-score penalty that centres scores at 0.")
    solutions_per_problem: int = Field(
        8, ge=2, description="Training solutions per verifier problem, constant over rounds."
    )
    updates: int = Field(400, ge=1, description="Optimizer steps per round, constant over rounds.")
    batch_problems: int = Field(16, ge=1, description="Problems per step; all their solutions are compared.")
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Solutions in memory at once while a step is made (null: all). The gradients are the whole step's; below "
        "the solutions of one problem, texts are read once more.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate (one-cycle).")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    max_length: int = Field(
        512, ge=8, description="Longest text in tokens; longer ones lose the middle of the problem."
    )
    reference_solutions: bool = Field(
        False,
        description="Fill the correct half of problems without a correct sample with the data set's own solution "
        "(risks teaching style instead of truth; logged).",
    )
    init: Literal["fresh", "persist"] = Field(
        "fresh", description="Start each round from the base (the paper's) or from the previous round's verifier."
    )
