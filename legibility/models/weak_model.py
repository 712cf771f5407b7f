"""The weak model: a verifier's base, before any game, as a language model that reads what a verifier reads and writes on.

Evaluation hands text over to it, and tandem training lets it write along.
"""

from __future__ import annotations

from pathlib import Path

from legibility.models.loading import encode_prompt, keep_layers, resolve
from legibility.models.prover import Prover
from legibility.models.verifier_text import filled
from legibility.player_settings import ProverSettings, VerifierSettings


def load_weak_model(settings: VerifierSettings, device: str, base_dir: Path | None = None) -> Prover:
    """The base of verifiers with these settings. Raises UserError where it is no causal language model."""
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
    return loaded


def weak_prompt(model: Prover, template: str, question: str, begun: str) -> list[int]:
    """Tokens of a problem and the beginning of its solution as a verifier's template has them up to there.

    Both are text: control tokens in them are letters.
    """
    before = template.partition("{solution}")[0]
    plain = model.control.plain
    return encode_prompt(model.tokenizer, filled(before, plain(question), "") + plain(begun))
