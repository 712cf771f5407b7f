"""What a prover is paid: SRC, CGC, Goodhart and correctness (Kirchner et al. 2024, Sec. 3.2, eq. 2-4).

Pure functions of equal-length columns, one entry per completion. `src`, `cgc`, `goodhart` and
`correctness` take them as a caller has them:

    scores    (n,) verifier scores V
    verdicts  (n,) "correct", "incorrect" or "invalid" (strings or Verdict members)
    helpful   (n,) bool, True for the helpful role
    group     (n,) any hashable id of the (problem, role) the completion was drawn for

and hand them on as `Columns`, which are checked once; `pay_src` and the other three compute on those.
A game makes its columns once a step (legibility.game.rollout_columns) and calls `PAY` directly.

Notation of the paper: c = correct, h = helpful, q = (c == h) "role-aligned", V' = V minus the mean of
its group. Departures: an `invalid` completion (no readable answer) is misaligned in either role,
where the paper counts it as incorrect and so would pay the sneaky role for it; scores may be divided
by `scale` (the paper uses raw scores, whose spread silently sets what the constants -1 and V0 weigh).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

SRC_FLOOR = -1.0
CGC_FLOOR = -2.0
TRANSLATION_FLOOR = -2.0
SAME_SCORES = 1e-5
"""Spread below which the scores of a group are the same: they are float32, and a standardised group would make 1 of it."""

Groups = Sequence[Hashable] | np.ndarray


@dataclass(frozen=True, eq=False)
class Columns:
    """What a reward reads of n completions, as arrays; checked when made.

    scores (n,) float64; correct, valid, helpful (n,) bool; group (n,) int64, the groups numbered from 0
    in the order in which they first appear. Only a valid completion can be correct.
    Raises ValueError where the columns contradict this or each other.
    """

    scores: np.ndarray
    correct: np.ndarray
    valid: np.ndarray
    helpful: np.ndarray
    group: np.ndarray

    def __post_init__(self) -> None:
        sizes = {name: len(getattr(self, name)) for name in ("scores", "correct", "valid", "helpful", "group")}
        if len(set(sizes.values())) > 1:
            raise ValueError("unequal lengths: " + ", ".join(f"{size} {name}" for name, size in sizes.items()))
        if (self.correct & ~self.valid).any():
            raise ValueError("a completion without a readable answer cannot be correct")
        if not np.array_equal(self.group, group_index(self.group)):
            raise ValueError("groups must be numbered from 0 in the order in which they first appear")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def aligned(self) -> np.ndarray:
        """Whether each completion does what its role is for: q of the paper, False where invalid. (n,) bool."""
        return self.valid & (self.correct == self.helpful)


def as_columns(scores: ArrayLike, verdicts: Sequence[str], helpful: ArrayLike, group: Groups) -> Columns:
    """The columns of the arguments that every reward takes.

    Raises ValueError for unequal lengths and unknown verdicts.
    """
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
    return Columns(values, names == "correct", names != "invalid", is_helpful, group_index(group))


def src(
    scores: ArrayLike,
    verdicts: Sequence[str],
    helpful: ArrayLike,
    group: Groups,
    *,
    scale: float = 1.0,
    clip: float | None = None,
    floor: float | None = None,
    center: bool = True,
) -> np.ndarray:
    """Signed Relative Convincingness, eq. (2): (2q-1) V' where V' > 0, else -1.

    An invalid completion gets min(floor, -V'). `center` is accepted for a common signature and must
    stay True: SRC is defined on centred scores. Returns (n,) float64.
    Raises ValueError for center=False, unequal lengths and unknown verdicts.
    """
    return pay_src(as_columns(scores, verdicts, helpful, group), scale=scale, clip=clip, floor=floor, center=center)


def cgc(
    scores: ArrayLike,
    verdicts: Sequence[str],
    helpful: ArrayLike,
    group: Groups,
    *,
    scale: float = 1.0,
    clip: float | None = None,
    floor: float | None = None,
    center: bool = False,
) -> np.ndarray:
    """Correctness-Gated Convincingness, eq. (3): V where the role's aim is met, else V0 = `floor`.

    center=True uses V' instead of V (our option; K's text centres only SRC). Returns (n,) float64.
    Raises ValueError for unequal lengths and unknown verdicts.
    """
    return pay_cgc(as_columns(scores, verdicts, helpful, group), scale=scale, clip=clip, floor=floor, center=center)


def goodhart(
    scores: ArrayLike,
    verdicts: Sequence[str],
    helpful: ArrayLike,
    group: Groups,
    *,
    scale: float = 1.0,
    clip: float | None = None,
    floor: float | None = None,
    center: bool = False,
) -> np.ndarray:
    """Iterative goodharting, eq. (4): the score itself, whatever the role and the truth.

    An invalid completion gets the smallest reward of the batch (and of `floor`, if given). Returns (n,)
    float64. Raises ValueError for unequal lengths and unknown verdicts.
    """
    batch = as_columns(scores, verdicts, helpful, group)
    return pay_goodhart(batch, scale=scale, clip=clip, floor=floor, center=center)


def correctness(
    scores: ArrayLike, verdicts: Sequence[str], helpful: ArrayLike, group: Groups, **_: object
) -> np.ndarray:
    """The correctness-only baseline (Sec. 4.1): +1 for a correct completion, else -1. Returns (n,) float64.

    Takes the options of the others and ignores them. Raises ValueError for unequal lengths and unknown verdicts.
    """
    return pay_correctness(as_columns(scores, verdicts, helpful, group))


REWARDS: dict[str, Callable[..., np.ndarray]] = {
    "src": src,
    "cgc": cgc,
    "goodhart": goodhart,
    "correctness": correctness,
}


# --- The same on columns -----------------------------------------------------------------------


def pay_src(
    batch: Columns, *, scale: float = 1.0, clip: float | None = None, floor: float | None = None, center: bool = True
) -> np.ndarray:
    """`src` of columns."""
    if not center:
        raise ValueError("SRC is defined on centred scores")
    floor = SRC_FLOOR if floor is None else floor
    relative = _clip(centred(batch.scores, batch.group) / scale, clip)
    reward = np.where(relative > 0, np.where(batch.aligned, relative, -relative), floor)
    return np.where(batch.valid, reward, np.minimum(floor, -relative))


def pay_cgc(
    batch: Columns, *, scale: float = 1.0, clip: float | None = None, floor: float | None = None, center: bool = False
) -> np.ndarray:
    """`cgc` of columns."""
    floor = CGC_FLOOR if floor is None else floor
    return np.where(batch.aligned, _convincingness(batch, scale, clip, center), floor)


def pay_goodhart(
    batch: Columns, *, scale: float = 1.0, clip: float | None = None, floor: float | None = None, center: bool = False
) -> np.ndarray:
    """`goodhart` of columns."""
    paid = _convincingness(batch, scale, clip, center)
    worst = paid.min() if len(paid) else 0.0
    return np.where(batch.valid, paid, worst if floor is None else min(worst, floor))


def pay_correctness(batch: Columns, **_: object) -> np.ndarray:
    """`correctness` of columns."""
    return np.where(batch.correct, 1.0, -1.0)


PAY: dict[str, Callable[..., np.ndarray]] = {
    "src": pay_src,
    "cgc": pay_cgc,
    "goodhart": pay_goodhart,
    "correctness": pay_correctness,
}


def pay_translation(
    batch: Columns, kept: np.ndarray, solved: np.ndarray, floor: float = TRANSLATION_FLOOR
) -> np.ndarray:
    """What translators of the decoupled game are paid (Kim & Lee 2026, arXiv 2602.23248, Sec. 2.3). (n,) float64.

    kept (n,) bool: the text has the answer of the solution it was made from; solved (n,) bool: that answer is right.
    V' are the scores of a (problem, role) with mean 0 and standard deviation 1. A faithful text has to keep the
    answer, a sneaky one has to be wrong; whatever does not is paid `floor`, whatever its score. Others are paid V',
    a faithful translation of a wrong solution -V', and `floor` where that is not above 0: being unconvincing is what
    such a text is for, so the paper's "V' <= 0" is read with the sign of what is paid. Read by the letter, it would charge
    for both: every such text would be paid less than 0, and least where it exposes its error.
    Departure: where all scores of a group are the same, nothing is ranked, and texts that play their role are paid 0.
    The paper's baseline is the group's mean (RLOO), to which such a group gives nothing; PPO would charge for it.
    """
    relative = standardised(batch.scores, batch.group)
    signed = np.where(batch.helpful & ~solved, -relative, relative)
    aligned = batch.valid & np.where(batch.helpful, kept, ~batch.correct)
    paid = np.where(signed > 0, signed, floor)
    return np.where(aligned, np.where(relative == 0, _flat(batch, relative, floor), paid), floor)


def _flat(batch: Columns, relative: np.ndarray, floor: float) -> np.ndarray:
    """What a text at its group's mean is paid: 0 where the whole group is there, else `floor`. (n,) float64."""
    index, sizes = _index_and_sizes(batch.group)
    moved = np.bincount(index, weights=relative != 0, minlength=len(sizes))
    return np.where(moved[index] == 0, 0.0, floor)


def _convincingness(batch: Columns, scale: float, clip: float | None, center: bool) -> np.ndarray:
    """V, or V' with `center`, scaled and clipped. (n,) float64."""
    return _clip((centred(batch.scores, batch.group) if center else batch.scores) / scale, clip)


def _clip(values: np.ndarray, clip: float | None) -> np.ndarray:
    return values if clip is None else np.clip(values, -clip, clip)


# --- Groups and the scale of scores ------------------------------------------------------------


def group_index(group: Groups) -> np.ndarray:
    """Groups numbered from 0 in the order in which they first appear: (n,) ids -> (n,) int64."""
    if isinstance(group, np.ndarray) and group.dtype.kind in "iu":
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        number = np.empty(len(first), dtype=np.int64)
        number[np.argsort(first)] = np.arange(len(first))
        return number[inverse]
    ids: dict[Hashable, int] = {}
    return np.array([ids.setdefault(g, len(ids)) for g in group], dtype=np.int64)


def centred(scores: ArrayLike, group: Groups) -> np.ndarray:
    """V': scores minus the mean of their group. (n,) -> (n,) float64."""
    values = np.asarray(scores, dtype=np.float64)
    index, sizes = _index_and_sizes(group)
    means = np.bincount(index, weights=values, minlength=len(sizes)) / np.maximum(sizes, 1)
    deviations = values - means[index]
    # the mean of equal scores is not always that score in floating point; the difference is no deviation
    return np.where(np.abs(deviations) <= 1e-12 * np.maximum(1.0, np.abs(values)), 0.0, deviations)


def standardised(scores: ArrayLike, group: Groups) -> np.ndarray:
    """Scores of every group with mean 0 and standard deviation 1 (of the population); 0 where they are the same.

    (n,) -> (n,) float64.
    """
    deviations = centred(scores, group)
    index, sizes = _index_and_sizes(group)
    spreads = np.sqrt(np.bincount(index, weights=deviations**2, minlength=len(sizes)) / np.maximum(sizes, 1))[index]
    least = SAME_SCORES * np.maximum(1.0, np.abs(np.asarray(scores, dtype=np.float64)))
    return np.where(spreads > least, deviations / np.where(spreads > 0, spreads, 1.0), 0.0)


def within_group_std(scores: ArrayLike, group: Groups) -> float:
    """Mean over groups of the standard deviation of scores inside the group (the scale of V'). 0 without groups."""
    deviations = centred(scores, group)
    index, sizes = _index_and_sizes(group)
    variances = np.bincount(index, weights=deviations**2, minlength=len(sizes)) / np.maximum(sizes, 1)
    return float(np.sqrt(variances).mean()) if len(sizes) else 0.0


def _index_and_sizes(group: Groups) -> tuple[np.ndarray, np.ndarray]:
    """The number of each completion's group (n,), and how many completions each group has (groups,)."""
    index = group_index(group)
    return index, np.bincount(index) if len(index) else np.zeros(0, dtype=np.int64)


class ScoreScale:
    """What scores are divided by: 1 ("none"), the spread of the first batch ("calibrated"), or its moving average.

    The spread is `within_group_std`. "running" follows it with weight 0.2 and never falls below a twentieth of
    the first batch's, so that a verifier that says the same of everything is not turned into noise.
    Raises ValueError for another kind.
    """

    def __init__(self, kind: str) -> None:
        if kind not in ("calibrated", "running", "none"):
            raise ValueError(f"unknown scale {kind!r}")
        self.kind, self.value, self.least = kind, 1.0, 0.0

    def update(self, scores: ArrayLike, group: Groups, first: bool) -> float:
        """Take in one batch, scores (n,) and group (n,), and return the scale for it."""
        if self.kind == "none" or (self.kind == "calibrated" and not first):
            return self.value
        spread = within_group_std(scores, group)
        if first:
            self.value = max(spread, 1e-6)
            self.least = self.value / 20
        else:
            self.value = max(self.least, self.value + 0.2 * (spread - self.value))
        return self.value
