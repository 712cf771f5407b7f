"""Gates: cheap checks before compute is spent (not in the paper; they catch the collapses peers report).

A closed gate raises `GateClosed` (exit 3); with --force it only warns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from legibility.config import GateSettings
from legibility.errors import GateClosed
from legibility.metrics import auroc


def check_base(settings: GateSettings, accuracy: float) -> list[str]:
    """Reasons not to start: the untrained helpful prover hardly ever succeeds."""
    if accuracy < settings.min_helpful_accuracy:
        return [
            f"untrained helpful accuracy {accuracy:.3f} is below gates.min_helpful_accuracy "
            f"{settings.min_helpful_accuracy}: use easier problems, a stronger prover or a warm start"
        ]
    return []


def check_verifier(settings: GateSettings, scores: np.ndarray, correct: np.ndarray) -> list[str]:
    """Reasons not to train a prover against this verifier, on held-out model-written text.

    scores (n,), correct (n,) bool.
    """
    reasons = []
    spread, accepted, area = float(np.std(scores)), float(np.mean(scores > 0)), auroc(scores, correct)
    if spread < settings.min_score_std:
        reasons.append(
            f"verifier score spread {spread:.2g} is below gates.min_score_std {settings.min_score_std}: it scores everything alike; train it longer or use a larger one"
        )
    low, high = settings.accept_rate
    if not low <= accepted <= high:
        reasons.append(
            f"verifier accepts {accepted:.2f} of the texts, outside gates.accept_rate {low}-{high}: use easier or harder problems, or a larger verifier.l2"
        )
    if not np.isnan(area) and area < settings.min_auroc:
        reasons.append(
            f"verifier AUROC {area:.3f} on held-out text is below gates.min_auroc {settings.min_auroc}: train it longer or use a larger one"
        )
    return reasons


def check_rewards(settings: GateSettings, flat_share: float) -> list[str]:
    """Reasons not to go on after the first batch: almost no group has any reward spread."""
    if flat_share > settings.max_flat_groups:
        return [
            f"{flat_share:.2f} of the groups have no reward spread, above gates.max_flat_groups {settings.max_flat_groups}: nothing to learn from; raise ppo.samples_per_role or ppo.problems_per_step"
        ]
    return []


def enforce(settings: GateSettings, where: str, reasons: list[str], force: bool, warn: Callable[[str], None]) -> None:
    """Raise GateClosed for the first reason; with `force` warn of every one instead. Nothing where gates are off."""
    if not settings.enabled or not reasons:
        return
    if not force:
        raise GateClosed(f"gate closed at {where}: {reasons[0]} (--force to go on)")
    for reason in reasons:
        warn(f"gate at {where} (forced open): {reason}")
