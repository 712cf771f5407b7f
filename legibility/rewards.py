"""What a prover is paid: SRC, CGC, Goodhart and correctness (Kirchner et al. 2024, Sec. 3.2, eq. 2-4).

Pure functions of equal-length arrays, one entry per completion:

    scores    (n,) verifier scores V
    verdicts  (n,) "correct", "incorrect" or "invalid" (strings or Verdict members)
    helpful   (n,) bool, True for the helpful role
    group     (n,) any hashable id of the (problem, role) the completion was drawn for

Notation of the paper: c = correct, h = helpful, q = (c == h) "role-aligned", V' = V minus the mean of
its group. Departures: an `invalid` completion (no readable answer) is misaligned in either role,
where the paper counts it as incorrect and so would pay the sneaky role for it; scores may be divided
by `scale` (the paper uses raw scores, whose spread silently sets what the constants -1 and V0 weigh).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SRC_FLOOR = -1.0
CGC_FLOOR = -2.0


def src(
    scores: Any,
    verdicts: Sequence[Any],
    helpful: Any,
    group: Sequence[Any],
    *,
    scale: float = 1.0,
    clip: float | None = None,
    floor: float | None = None,
    center: bool = True,
) -> np.ndarray:
    """Signed Relative Convincingness, eq. (2): (2q-1) V' where V' > 0, else -1.

    An invalid completion gets min(floor, -V'). `center` is accepted for a common signature and must
    stay True: SRC is defined on centred scores. Returns (n,) float64.
    """
    if not center:
        raise ValueError("SRC is defined on centred scores")
    values, correct, valid, is_helpful = _arrays(scores, verdicts, helpful, group)
    floor = SRC_FLOOR if floor is None else floor
    relative = _clip(centred(values, group) / scale, clip)
    aligned = valid & (correct == is_helpful)
    reward = np.where(relative > 0, np.where(aligned, relative, -relative), floor)
    return np.where(valid, reward, np.minimum(floor, -relative))


def cgc(
    scores: Any,
    verdicts: Sequence[Any],
    helpful: Any,
    group: Sequence[Any],
    *,
    scale: float = 1.0,
    clip: float | None = None,
    floor: float | None = None,
    center: bool = False,
) -> np.ndarray:
    """Correctness-Gated Convincingness, eq. (3): V where the role's aim is met, else V0 = `floor`.

    center=True uses V' instead of V (our option; K's text centres only SRC). Returns (n,) float64.
    """
    values, correct, valid, is_helpful = _arrays(scores, verdicts, helpful, group)
    floor = CGC_FLOOR if floor is None else floor
    paid = _clip((centred(values, group) if center else values) / scale, clip)
    return np.where(valid & (correct == is_helpful), paid, floor)


def goodhart(
    scores: Any,
    verdicts: Sequence[Any],
    helpful: Any,
    group: Sequence[Any],
    *,
    scale: float = 1.0,
    clip: float | None = None,
    floor: float | None = None,
    center: bool = False,
) -> np.ndarray:
    """Iterative goodharting, eq. (4): the score itself, whatever the role and the truth.

    An invalid completion gets the smallest reward of the batch (and of `floor`, if given).
    """
    values, _, valid, _ = _arrays(scores, verdicts, helpful, group)
    paid = _clip((centred(values, group) if center else values) / scale, clip)
    worst = paid.min() if len(paid) else 0.0
    return np.where(valid, paid, worst if floor is None else min(worst, floor))


def correctness(scores: Any, verdicts: Sequence[Any], helpful: Any, group: Sequence[Any], **_: Any) -> np.ndarray:
    """The correctness-only baseline (Sec. 4.1): +1 for a correct completion, else -1."""
    _, correct, _, _ = _arrays(scores, verdicts, helpful, group)
    return np.where(correct, 1.0, -1.0)


REWARDS: dict[str, Callable[..., np.ndarray]] = {
    "src": src,
    "cgc": cgc,
    "goodhart": goodhart,
    "correctness": correctness,
}


def centred(scores: Any, group: Sequence[Any]) -> np.ndarray:
    """V': scores minus the mean of their group. (n,) -> (n,) float64."""
    values = np.asarray(scores, dtype=np.float64)
    index, sizes = _group_index(group)
    means = np.bincount(index, weights=values, minlength=len(sizes)) / np.maximum(sizes, 1)
    deviations = values - means[index]
    # what rounding leaves of equal scores is no spread
    return np.where(np.abs(deviations) <= 1e-12 * np.maximum(1.0, np.abs(values)), 0.0, deviations)


def within_group_std(scores: Any, group: Sequence[Any]) -> float:
    """Mean over groups of the standard deviation of scores inside the group (the scale of V')."""
    deviations = centred(scores, group)
    index, sizes = _group_index(group)
    variances = np.bincount(index, weights=deviations**2, minlength=len(sizes)) / np.maximum(sizes, 1)
    return float(np.sqrt(variances).mean()) if len(sizes) else 0.0


class ScoreScale:
    """What scores are divided by: 1 ("none"), the spread of the first batch ("calibrated"), or its moving average.

    The spread is `within_group_std`. "running" follows it with weight 0.2 and never falls below a twentieth of
    the first batch's, so that a verifier that says the same of everything is not turned into noise.
    """

    def __init__(self, kind: str) -> None:
        if kind not in ("calibrated", "running", "none"):
            raise ValueError(f"unknown scale {kind!r}")
        self.kind, self.value, self._least = kind, 1.0, 0.0

    def update(self, scores: Any, group: Sequence[Any], first: bool) -> float:
        """Take in one batch and return the scale for it."""
        if self.kind == "none" or (self.kind == "calibrated" and not first):
            return self.value
        spread = within_group_std(scores, group)
        if first:
            self.value = max(spread, 1e-6)
            self._least = self.value / 20
        else:
            self.value = max(self._least, self.value + 0.2 * (spread - self.value))
        return self.value


def _group_index(group: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    ids: dict[Any, int] = {}
    index = np.array([ids.setdefault(g, len(ids)) for g in group], dtype=np.int64)
    return index, np.bincount(index, minlength=len(ids)) if len(index) else np.zeros(0, dtype=np.int64)


def _clip(values: np.ndarray, clip: float | None) -> np.ndarray:
    return values if clip is None else np.clip(values, -clip, clip)


def _arrays(
    scores: Any, verdicts: Sequence[Any], helpful: Any, group: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    values = np.asarray(scores, dtype=np.float64)
    names = np.array([getattr(v, "value", v) for v in verdicts], dtype=object)
    is_helpful = np.asarray(helpful, dtype=bool)
    if not len(values) == len(names) == len(is_helpful) == len(group):
        raise ValueError(
            f"unequal lengths: {len(values)} scores, {len(names)} verdicts, {len(is_helpful)} helpful, {len(group)} group"
        )
    unknown = set(names) - {"correct", "incorrect", "invalid"}
    if unknown:
        raise ValueError(f"unknown verdicts {sorted(map(str, unknown))}")
    return values, names == "correct", names != "invalid", is_helpful
