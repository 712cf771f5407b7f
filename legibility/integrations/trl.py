"""TRL's GRPO and RLOO trainers as the engine of a prover phase (`prover.trainer: grpo | rloo`).

A game drives PPO step by step; TRL's trainers drive themselves and call back. So the trainer works in a thread of its
own, which takes turns with the game: `draw` lets it sample and score a step's completions, `step` pays them and waits
for the update. Everything between (rewards, metrics, gates, stop rules, checkpoints, files) is the game's own loop,
the same for all trainers. Under a launcher the thread is rank 0's, and every other rank runs the same trainer
(legibility.integrations.trl_rank).

What TRL does: it samples (transformers' `generate`, temperature 1), takes a completion's reward beside the others of
its (problem, role), and updates by its own loss. What it is given: role prompts in the game's order, the verifier's
scores, rewards of the whole step, and an optimizer like PPO's. Rewards are scaled by the game's own scale and by
nothing else. KL to the phase's starting policy is paid once, by TRL, with weight `ppo.kl_coefficient`: in the loss of
GRPO (Shao et al. 2024), in the reward of RLOO (Ahmadian et al. 2024).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from legibility.checkpoint_files import trained_tensors
from legibility.config import PPOSettings
from legibility.integrations.trl_settings import Batches
from legibility.integrations.trl_work import Abandoned, Answer, Desk, PhaseWork, Players, Task
from legibility.models.prover import Prover
from legibility.models.verifier import Verifier
from legibility.team import Team

PATIENCE = 20.0
"""Seconds that a phase which fails waits for its trainer's thread, which may be in the middle of sampling."""


class TrlTrainer:
    """The prover's trainer for one phase, in the place of `legibility.ppo.PPO`.

    Raises UserError where the settings do not divide (`Batches.of`).
    """

    def __init__(self, prover: Prover, verifier: Verifier | None, ppo: PPOSettings, team: Team | None = None) -> None:
        self.team, self.settings = team or Team(), ppo
        self.parameters = [p for p in prover.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=ppo.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        keeps_reference = ppo.kl_coefficient > 0 and not prover.is_lora
        reference = prover.frozen_copy().model if keeps_reference else None
        self.players = Players(prover, verifier, reference, self.optimizer)
        self._desk: Desk | None = None
        self._between = False  # steps: the last one has been paid, and the next is not drawn
        self._tasks: Iterator[list[Task]] = iter(())
        self._tokens = 0.0  # mean completion length of the step

    @property
    def trained(self) -> Sequence[torch.nn.Parameter]:
        """Everything the optimizer changes."""
        return self.parameters

    def trained_tensors(self) -> dict[str, torch.Tensor]:
        """What training changes, by name (`legibility.checkpoint_files.trained_tensors`)."""
        return trained_tensors(torch.nn.ModuleDict({"policy": self.players.prover.model}), self.optimizer)

    @contextmanager
    def at_work(self, work: PhaseWork) -> Iterator[None]:
        """The block in which `draw` and `step` may be called, in turn, for each of the work's steps or fewer of them."""
        if not work.steps:
            yield
            return
        Batches.of(work.ppo, work.completions, self.team.workers)
        with self.team.together(self.players, gradients=0):
            self._desk = desk = Desk()
            self._between, self._tasks = False, iter(work.steps)
            thread = threading.Thread(target=self._run, args=(work, desk), name="trl", daemon=True)
            thread.start()
            try:
                yield
                if not self._between:
                    raise RuntimeError("a step was drawn and not paid")
                desk.answer(False)
                desk.farewell()
            except BaseException:
                desk.answer(Abandoned())
                raise
            finally:
                thread.join(PATIENCE)
                self._desk = None

    def _run(self, work: PhaseWork, desk: Desk) -> None:
        """The trainer's thread."""
        from legibility.integrations.trl_rank import train  # TRL, transformers and accelerate: seconds to import

        try:
            self.team.run(train, self.players, work, self.team, here={"desk": desk})
        except BaseException as error:
            desk.end(error)
        else:
            desk.end(None)

    def draw(self) -> list[tuple[Task, list[Answer]]]:
        """The next step's tasks and their completions, `ppo.samples_per_role` of each."""
        assert self._desk is not None, "only inside at_work"
        if self._between:
            self._desk.answer(True)
        answers: list[Answer] = self._desk.hear()
        self._between = False
        self._tokens = float(np.mean([a.completion_tokens for a in answers]))
        samples = self.settings.samples_per_role
        groups = [answers[begin : begin + samples] for begin in range(0, len(answers), samples)]
        return list(zip(next(self._tasks), groups, strict=True))

    def step(self, paid: np.ndarray) -> dict[str, float]:
        """Pay the drawn completions, (n,) in their order, and update the policy. Returns its metrics (docs/metrics.md)."""
        assert self._desk is not None, "only inside at_work"
        self._desk.answer(np.asarray(paid, dtype=np.float64))
        said: dict[str, float] = self._desk.hear()
        self._between = True
        nothing = float("nan")
        return {
            "kl": said.get("kl", nothing) * self._tokens,
            "entropy": said["entropy"],
            "clip_fraction": said["clip_ratio/region_mean"],
            "policy_loss": said["loss"],
            "grad_norm": said["grad_norm"],
        }

    def save(self, folder: Path) -> None:
        """Write the policy."""
        self.players.prover.save(folder)
