"""What the reward settings pay for scored completions, whoever trains on them: our PPO, TRL or verl."""

from __future__ import annotations

from typing import Literal

import numpy as np

from legibility import rewards
from legibility.config import RewardSettings
from legibility.errors import UserError
from legibility.rewards import Columns


def verifier_rewards(settings: RewardSettings, rollouts: Columns, scale: float) -> np.ndarray:
    """What scored completions are paid under the settings (legibility.rewards). (n,) float64.

    SRC is always centred. Goodhart is paid the raw score, whatever scale, centring and clip the settings name.
    """
    if settings.kind == "goodhart":
        return rewards.pay_goodhart(rollouts, floor=settings.floor)
    center = True if settings.kind == "src" else settings.center
    return rewards.PAY[settings.kind](rollouts, scale=scale, clip=settings.clip, floor=settings.floor, center=center)


def score_scale(settings: RewardSettings) -> Literal["calibrated", "running", "none"]:
    """How scores are scaled before they are paid.

    Raises UserError for uncentred CGC with a running scale: scores grow without bound as their spread shrinks,
    and the constant V0 loses all weight.
    """
    if settings.kind == "goodhart":
        return "none"
    if settings.kind == "cgc" and settings.scale == "running" and not settings.center:
        raise UserError(
            "reward.scale: running divides by a spread that shrinks, and uncentred CGC scores would grow without bound; "
            "set reward.center to true, or reward.scale to calibrated or none"
        )
    return settings.scale
