"""What TRL's GRPO and RLOO trainers make of our settings, and which of them they cannot honour.

Neither trainer has a critic, so nothing that steers one means anything to them: advantages are a completion's reward
beside its group's. Everything here is arithmetic and can be asked before anything is written or TRL is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from legibility.config import Config, PPOSettings
from legibility.errors import UserError
from legibility.rival_settings import PLAIN_ARMS

TRAINERS = {"grpo": "GRPOTrainer", "rloo": "RLOOTrainer"}
NEEDS = 'needs TRL and Python 3.11; pip install "legibility[trl]", or set it to ppo'
CRITIC = ("critic", "value_coefficient", "value_learning_rate", "gamma", "lam")
"""Settings of `ppo` that steer a critic and what it estimates."""
SAMPLER = ("old_logprobs", "max_logprob_gap")
"""Settings of `ppo` about the sampler's own log-probs, which TRL does not keep."""


@dataclass(frozen=True)
class Batches:
    """One step of the game in TRL's terms. All sizes in completions.

    per_device: of a forward pass on one rank; accumulation: forward passes of an optimizer step;
    per_generation: forward passes of one epoch over the step; updates: optimizer steps of the whole step.
    """

    per_device: int
    accumulation: int
    per_generation: int
    updates: int

    @classmethod
    def of(cls, ppo: PPOSettings, completions: int, ranks: int) -> Batches:
        """The batches of a step of that many completions, shared by ranks.

        An optimizer step reads `ppo.minibatch_size` completions on all ranks together, as it does in PPO.
        Raises UserError where it cannot be divided so.
        """
        whole = min(ppo.minibatch_size, completions)
        if completions % whole:
            raise UserError(
                f"ppo.minibatch_size: {whole} does not divide the {completions} completions of a step, which prover.trainer "
                "grpo and rloo need; change it, ppo.problems_per_step or ppo.samples_per_role"
            )
        if whole % ranks:
            raise UserError(
                f"ppo.minibatch_size: {whole} completions cannot be shared evenly by {ranks} ranks, which prover.trainer grpo "
                "and rloo need; give a multiple"
            )
        share = whole // ranks
        per_device = next(size for size in range(min(ppo.micro_batch_size, share), 0, -1) if share % size == 0)
        return cls(
            per_device=per_device,
            accumulation=share // per_device,
            per_generation=completions // (per_device * ranks),
            updates=ppo.epochs * (completions // whole),
        )


def check_trainer(config: Config, problems: int, ranks: int) -> None:
    """Raise UserError where `prover.trainer` cannot train the prover of this config.

    problems: how many the prover learns from; ranks: the processes that a launcher started.
    """
    trainer, ppo = config.prover.trainer, config.ppo
    if trainer == "ppo":
        return
    if find_spec("trl") is None:
        raise UserError(f"prover.trainer: {trainer} {NEEDS}")
    usual = PPOSettings()
    for names, why in ((CRITIC, "has no critic"), (SAMPLER, "does not keep the sampler's log-probs")):
        for name in names:
            if getattr(ppo, name) != getattr(usual, name):
                raise UserError(
                    f"ppo.{name}: prover.trainer {trainer} {why}; leave it at {getattr(usual, name)}, or set prover.trainer to ppo"
                )
    drawn_here = [arm for arm in config.game.played if arm not in PLAIN_ARMS]
    if drawn_here:
        raise UserError(
            f"game.arms: {drawn_here[0]} draws its text in its own way, which prover.trainer {trainer} does not know; "
            "leave the arm out, or set prover.trainer to ppo"
        )
    if ppo.samples_per_role < 2:
        raise UserError(
            f"ppo.samples_per_role: prover.trainer {trainer} compares completions of one prompt; give at least 2"
        )
    if config.compute.workers > 1:
        raise UserError(
            f"compute.workers: prover.trainer {trainer} cannot use forked helpers; set it to 1 (threads share the work), or "
            "start with torchrun"
        )
    if config.compute.shard:
        raise UserError(
            f"compute.shard: prover.trainer {trainer} trains whole weights on every rank; set it to false, or prover.trainer to ppo"
        )
    lora = config.prover.lora
    if lora is not None and "lm_head" in lora.target_modules:
        raise UserError(
            f"prover.lora.target_modules: prover.trainer {trainer} cannot train an adapter on lm_head; leave it out"
        )
    # the correctness-only arm answers twice as many problems in one role, if there are as many
    for asked, roles in ((ppo.problems_per_step, 2), (2 * ppo.problems_per_step, 1)):
        Batches.of(ppo, min(asked, problems) * roles * ppo.samples_per_role, ranks)


def trainer_notice(config: Config) -> str | None:
    """What a user may not expect of `prover.trainer`, in one line."""
    if config.prover.trainer == "ppo" or config.compute.engine != "vllm":
        return None
    return (
        f"compute.engine: the steps of prover.trainer {config.prover.trainer} are sampled by TRL with transformers; vllm samples "
        "the rest"
    )
