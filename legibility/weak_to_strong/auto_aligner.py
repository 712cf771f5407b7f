"""The recursive auto-aligner (Sang et al. 2024, phase 2; proposed there, not validated).

Generation 0 is the weak model. Each generation is calibrated on the small trusted set, labels half B
and teaches the next, larger one. The drift to fear is that every generation learns its teacher's
mistakes; agreement with the trusted set is watched, and an alarm stops the recursion at the last sound
generation. The trusted set is used for calibration and alarms only; nothing here sees the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from legibility.weak_to_strong.study_settings import AutoAlignerSettings

Logits = dict[str, np.ndarray]  # part -> (items,); holds "student" and "trusted" at least


@dataclass(frozen=True)
class Generation:
    """One generation: its calibrated log-odds by part, agreement with the trusted labels, and the alarm, if any."""

    model: str
    logits: Logits
    trusted_agreement: float
    alarm: str | None = None


def align(
    settings: AutoAlignerSettings, first: Logits, teach: Callable[[int, str, np.ndarray], Logits], trusted: np.ndarray
) -> list[Generation]:
    """Run the recursion; returns every generation trained, in order.

    first: log-odds of generation 0. teach(g, model, probabilities): trains generation g on half B's
    labels and returns its log-odds. trusted: the trusted set's labels. With `stop` an alarm is the
    last generation returned; `supervisor` says which one may be used.
    """
    names = settings.generations
    generations = [_generation(settings, names[0], first, trusted, [])]
    for g, name in enumerate(names[1:], start=1):
        if settings.stop and generations[-1].alarm:
            break
        labels = expit(generations[-1].logits["student"])
        generations.append(_generation(settings, name, teach(g, name, labels), trusted, generations))
    return generations


def supervisor(generations: Sequence[Generation]) -> int:
    """Index of the last generation before the first alarm (the first one if even it raised one)."""
    alarmed = [i for i, g in enumerate(generations) if g.alarm]
    return len(generations) - 1 if not alarmed else max(0, alarmed[0] - 1)


def calibrate(logits: Logits, trusted: np.ndarray) -> Logits:
    """Platt scaling fitted on the trusted part: a slope and a shift of the log-odds, the slope never negative."""
    model = _platt().fit(logits["trusted"][:, None], trusted)
    slope, shift = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:  # worse than chance on the trusted set: keep the order, do not believe it
        slope, shift = 1e-3, 0.0
    return {part: slope * values + shift for part, values in logits.items()}


def trusted_agreement(logits: np.ndarray, trusted: np.ndarray) -> float:
    """Accuracy on the trusted set of the calibrated model, cross-validated, since the same few items calibrate it."""
    folds = min(5, int(np.bincount(trusted.astype(int), minlength=2).min()))
    if folds < 2:
        return float(((logits > 0) == trusted).mean())
    plan = StratifiedKFold(folds, shuffle=True, random_state=0)
    return float((cross_val_predict(_platt(), logits[:, None], trusted, cv=plan) == trusted).mean())


def _generation(
    settings: AutoAlignerSettings, name: str, raw: Logits, trusted: np.ndarray, earlier: Sequence[Generation]
) -> Generation:
    agreed = trusted_agreement(raw["trusted"], trusted)
    best = max((g.trusted_agreement for g in earlier), default=agreed)
    alarm = None
    if agreed < settings.floor:
        alarm = f"agreement with the trusted set {agreed:.3f} is below the floor {settings.floor}"
    elif agreed < best - settings.tolerance:
        alarm = f"agreement with the trusted set fell from {best:.3f} to {agreed:.3f}"
    return Generation(name, calibrate(raw, trusted), agreed, alarm)


def _platt() -> LogisticRegression:
    return LogisticRegression(C=1.0)
