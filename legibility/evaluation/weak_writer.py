"""The weak model that goes on with other models' text: the verifier's base, before any game, as a language model.

It reads what a verifier reads up to the solution (`verifier.template`), and then writes. Nobody trained it against a
prover, so it is not a judge that a prover could have learnt to please.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from legibility.config import Config
from legibility.models.prover import Prover
from legibility.models.weak_model import load_weak_model, weak_prompt
from legibility.rollouts import sample

ANSWER_TOKENS = 24
"""Tokens of an answer line at most; no answer is longer in which a reader could find a number."""
LIKELIEST = 0.01
"""A temperature at which a model writes its likeliest tokens; engines divide by it, so it is not 0."""


@dataclass
class WeakWriter:
    """`model`: the base with its tokenizer; `template`: the text that a verifier reads."""

    model: Prover
    template: str
    config: Config

    @classmethod
    def load(cls, config: Config, device: str, base_dir: Path | None = None) -> WeakWriter:
        """The base of a run's verifiers. Raises UserError where it is no causal language model."""
        return cls(load_weak_model(config.verifier, device, base_dir), config.verifier.template, config)

    def prompt(self, question: str, begun: str) -> list[int]:
        """Tokens of a problem and the beginning of its solution, which is text: control tokens in it are letters."""
        return weak_prompt(self.model, self.template, question, begun)

    def go_on(self, questions: Sequence[str], begun: Sequence[str], seed: int) -> list[tuple[str, bool]]:
        """How it ends each text, and whether it came to no end within `sampling.max_new_tokens`."""
        sampling = self.config.sampling
        return self._endings(questions, begun, seed, sampling.max_new_tokens, sampling.evaluation_temperature)

    def answers(self, questions: Sequence[str], steps: Sequence[str], seed: int) -> list[str]:
        """What it puts on the answer line of each text, which is begun for it: its likeliest answer, or what it is instead.

        A base model follows no instruction, so the marker of the answer line is what asks it for the answer.
        """
        asked = [f"{text}\n{self.config.grading.marker.strip()}" for text in steps]
        endings = self._endings(questions, asked, seed, ANSWER_TOKENS, LIKELIEST)
        return [ending.partition("\n")[0].strip() for ending, _ in endings]

    def _endings(
        self, questions: Sequence[str], begun: Sequence[str], seed: int, limit: int, temperature: float
    ) -> list[tuple[str, bool]]:
        """How it ends each text within `limit` tokens, and whether it was cut off there."""
        drawn = sample(
            self.model,
            [self.prompt(question, text) for question, text in zip(questions, begun, strict=True)],
            1,
            seed=seed,
            max_new_tokens=limit,
            temperature=temperature,
            batch=self.config.compute.rollout_batch,
        )
        return [(self.model.decode(group[0].ids), group[0].truncated) for group in drawn]
