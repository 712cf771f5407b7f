"""The weak model that goes on with other models' text: the verifier's base, before any game, as a language model.

It reads what a verifier reads up to the solution (`verifier.template`), and then writes. Nobody trained it against a
prover, so it is not a judge that a prover could have learnt to please.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from legibility.config import Config
from legibility.models.loading import encode_prompt, keep_layers, resolve
from legibility.models.prover import Prover
from legibility.models.verifier_text import filled
from legibility.player_settings import ProverSettings
from legibility.rollouts import sample


@dataclass
class WeakWriter:
    """`model`: the base with its tokenizer; `template`: what stands before a solution."""

    model: Prover
    template: str
    config: Config

    @classmethod
    def load(cls, config: Config, device: str, base_dir: Path | None = None) -> WeakWriter:
        """The base of a run's verifiers. Raises UserError where it is no causal language model."""
        settings = config.verifier
        loaded = Prover.load(
            ProverSettings(
                model=resolve(settings.model, "verifier", base_dir),
                revision=settings.revision,
                dtype=settings.dtype,
                attention=settings.attention,
            ),
            device,
        )
        if settings.layers is not None:
            keep_layers(loaded.model, settings.layers)
        return cls(loaded, settings.template.partition("{solution}")[0], config)

    def prompt(self, question: str, begun: str) -> list[int]:
        """Tokens of a problem and the beginning of its solution, which is text: control tokens in it are letters."""
        plain = self.model.control.plain
        return encode_prompt(self.model.tokenizer, filled(self.template, plain(question), "") + plain(begun))

    def go_on(self, questions: Sequence[str], begun: Sequence[str], seed: int) -> list[tuple[str, bool]]:
        """How it ends each text, and whether it came to no end within `sampling.max_new_tokens`."""
        drawn = sample(
            self.model,
            [self.prompt(question, text) for question, text in zip(questions, begun, strict=True)],
            1,
            seed=seed,
            max_new_tokens=self.config.sampling.max_new_tokens,
            temperature=self.config.sampling.evaluation_temperature,
            batch=self.config.compute.rollout_batch,
        )
        return [(self.model.decode(group[0].ids), group[0].truncated) for group in drawn]
