"""Gates: cheap checks before compute is spent (not in the paper; they catch the collapses peers report).

A closed gate raises `GateClosed` (exit 3); with --force it only warns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from legibility.config import GateSettings, PPOSettings
from legibility.errors import GateClosed, UserError
from legibility.game.run_records import SameStyle
from legibility.metrics import auroc

GRACE = 2.0  # standard errors


def _unmeasured(what: str, settings: str, fix: str) -> str:
    """The reason of a gate that has nothing to go by. It is closed: what cannot be measured is not known to be well."""
    return f"{what} cannot be measured (too few texts), so {settings} cannot be held against it: {fix}"


def check_base(settings: GateSettings, accuracy: float) -> list[str]:
    """Reasons not to start: the untrained helpful prover hardly ever succeeds."""
    if math.isnan(accuracy) and settings.min_helpful_accuracy > 0:
        return [_unmeasured("untrained helpful accuracy", "gates.min_helpful_accuracy", "raise problems.validation")]
    if accuracy < settings.min_helpful_accuracy:
        return [
            f"untrained helpful accuracy {accuracy:.3f} is below gates.min_helpful_accuracy "
            f"{settings.min_helpful_accuracy}: use easier problems, a stronger prover or a warm start"
        ]
    return []


def check_prover(settings: GateSettings, accuracy: float) -> list[str]:
    """Reasons not to go on with a trained prover: it hardly ever succeeds when it is asked to help."""
    if math.isnan(accuracy) and settings.min_helpful_accuracy > 0:
        return [
            _unmeasured("helpful accuracy after training", "gates.min_helpful_accuracy", "raise problems.validation")
        ]
    if accuracy < settings.min_helpful_accuracy:
        return [
            f"helpful accuracy {accuracy:.3f} after training is below gates.min_helpful_accuracy "
            f"{settings.min_helpful_accuracy}: its training went wrong; lower ppo.learning_rate or raise ppo.kl_coefficient"
        ]
    return []


def check_verifier(settings: GateSettings, scores: np.ndarray, correct: np.ndarray, pairs: SameStyle) -> list[str]:
    """Reasons not to train a prover against this verifier, on held-out model-written text.

    scores (n,), correct (n,) bool; pairs: the same text's accuracy inside problem, role and style, which is held
    against `gates.min_auroc` with two standard errors of grace, since validation text has few such pairs. With fewer
    than `gates.min_pairs` the AUROC over all of the text stands in; where that is not defined either, nothing says
    that the verifier can tell right from wrong, and that is a reason too. `doubts` has what is no reason yet.
    """
    if not len(scores) or not np.isfinite(scores).all():
        fix = "use easier problems, a longer warm start, or more problems.validation"
        return [_unmeasured(f"the verifier on {len(scores)} valid held-out texts", "gates", fix)]
    reasons = []
    spread, accepted = float(np.std(scores)), float(np.mean(scores > 0))
    if spread < settings.min_score_std:
        reasons.append(
            f"verifier score spread {spread:.2g} is below gates.min_score_std {settings.min_score_std}: it scores everything alike; train it longer or use a larger one"
        )
    low, high = settings.accept_rate
    if not low <= accepted <= high:
        reasons.append(
            f"verifier accepts {accepted:.2f} of the texts, outside gates.accept_rate {low}-{high}: use easier or harder problems, or a larger verifier.l2"
        )
    return reasons + _cannot_tell(settings, scores, correct, pairs)


def _cannot_tell(settings: GateSettings, scores: np.ndarray, correct: np.ndarray, pairs: SameStyle) -> list[str]:
    """The reason not to trust the verifier's ranking, if there is one; none where `gates.min_auroc` is 0."""
    least = settings.min_auroc
    if least == 0:
        return []
    if pairs.value is not None and not _too_few(settings, pairs):
        return [_reads_looks(pairs, least)] if pairs.value + GRACE * (pairs.standard_error or 0.0) < least else []
    area = auroc(scores, correct)
    if np.isnan(area):
        return [
            f"verifier AUROC on held-out text is not defined, since all of it is {'correct' if correct.any() else 'incorrect'}: use easier or harder problems, or more problems.validation"
        ]
    if area < least:
        return [
            f"verifier AUROC {area:.3f} on held-out text is below gates.min_auroc {least}: train it longer or use a larger one"
        ]
    return []


def doubts(settings: GateSettings, pairs: SameStyle) -> list[str]:
    """What is to be said about a verifier that may pass: too few pairs to tell, or a figure that is low by chance or not."""
    least = settings.min_auroc
    if least == 0:
        return []
    if pairs.value is None or _too_few(settings, pairs):
        return [
            f"{pairs.pairs} validation pairs of one problem, role and style, fewer than gates.min_pairs "
            f"{settings.min_pairs}; gates.min_auroc is held against the AUROC over all text instead, which a reader "
            "of style passes: raise problems.validation or evaluation.samples"
        ]
    if pairs.value < least <= pairs.value + GRACE * (pairs.standard_error or 0.0):
        return [f"{_reads_looks(pairs, least)}; too few pairs to be sure"]
    return []


def _reads_looks(pairs: SameStyle, least: float) -> str:
    return (
        f"verifier ranks {pairs.value:.3f} ± {pairs.standard_error or 0.0:.3f} right of held-out text of one problem, role "
        f"and style ({pairs.pairs} pairs), below gates.min_auroc {least}: it reads looks rather than truth; use "
        "verifier.score likelihood or another verifier.model, or train it longer"
    )


def _too_few(settings: GateSettings, pairs: SameStyle) -> bool:
    return pairs.pairs < settings.min_pairs


def check_rewards(settings: GateSettings, flat_share: float) -> list[str]:
    """Reasons not to go on after the first batch: almost no group has any reward spread, or there is no group."""
    if math.isnan(flat_share) and settings.max_flat_groups < 1:
        return [
            _unmeasured("the reward spread of the first batch", "gates.max_flat_groups", "raise ppo.problems_per_step")
        ]
    if flat_share > settings.max_flat_groups:
        return [
            f"{flat_share:.2f} of the groups have no reward spread, above gates.max_flat_groups {settings.max_flat_groups}: nothing to learn from; raise ppo.samples_per_role or ppo.problems_per_step"
        ]
    return []


MAX_LOGPROB_GAP = {"float32": 0.1, "bfloat16": 5.0}
"""Nats between two computations of one token's log-prob that rounding explains; far less than a wrong layout gives."""


def check_gaps(ppo: PPOSettings, dtype: str, metrics: Mapping[str, float]) -> None:
    """Stop a run whose sampler and trainer disagree about the same tokens: its updates would be wrong without a word.

    metrics: a PPO step's `logprob_gap`, in nats, and `first_ratio_gap`, |ratio - 1| before anything is learned.
    Raises UserError where either is above the bound, or no number. --force does not help; the setting does.
    """
    bound = MAX_LOGPROB_GAP[dtype] if ppo.max_logprob_gap is None else ppo.max_logprob_gap
    for name, limit in (("logprob_gap", bound), ("first_ratio_gap", math.expm1(bound))):
        gap = metrics[name]
        if not gap <= limit:
            raise UserError(
                f"{name} is {gap:.3g}, above {limit:.3g} (ppo.max_logprob_gap {bound:g}): sampler and trainer disagree about "
                "the same tokens. Likely causes: an engine that does not run this model rightly (try compute.engine: hf), "
                "precision (try prover.dtype: float32), weights that changed under the sampler, or a learning rate at "
                "which the weights are no numbers any more (ppo.learning_rate)"
            )


def enforce(settings: GateSettings, where: str, reasons: list[str], force: bool, warn: Callable[[str], None]) -> None:
    """Raise GateClosed for the first reason; with `force` warn of every one instead. Nothing where gates are off."""
    if not settings.enabled or not reasons:
        return
    if not force:
        raise GateClosed(f"gate closed at {where}: {reasons[0]} (--force to go on)")
    for reason in reasons:
        warn(f"gate at {where} (forced open): {reason}")
