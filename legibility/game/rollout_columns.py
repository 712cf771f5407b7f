"""One PPO step's completions as columns: what rewards, metrics and the score scale read.

`Rollouts` are made once from the drawn rows and checked once; from there on everything is an array (n,),
until the rewards go to PPO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from legibility import rewards
from legibility.config import RewardSettings
from legibility.errors import UserError
from legibility.game.solutions import Solution
from legibility.prompts import HELPFUL, ROLES, SNEAKY
from legibility.reward_rules import score_scale as score_scale
from legibility.reward_rules import verifier_rewards as verifier_rewards
from legibility.rewards import Columns


@dataclass(frozen=True, eq=False, kw_only=True)
class Rollouts(Columns):
    """n completions of one step, in the order of `rows`.

    scores (n,) float64, nan in a phase without a verifier; correct, valid, helpful (n,) bool; group (n,)
    int64, one number per (problem, role); length (n,) float64 completion tokens; truncated (n,) bool.
    """

    rows: Sequence[Solution]
    length: np.ndarray
    truncated: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Solution]) -> Rollouts:
        """The columns of drawn and graded rows, scored or not.

        Raises UserError where a score is not a finite number, ValueError for a role that is no player's.
        """
        unknown = {row.role for row in rows} - set(ROLES)
        if unknown:
            raise ValueError(f"not a prover's role: {', '.join(sorted(unknown))}")
        scores = np.array([np.nan if row.score is None else row.score for row in rows], dtype=float)
        if any(row.score is not None for row in rows) and not np.isfinite(scores).all():
            raise UserError(
                f"the verifier gave {int((~np.isfinite(scores)).sum())} of {len(rows)} completions no finite score; "
                "its training may have diverged: lower verifier.learning_rate"
            )
        columns = rewards.as_columns(
            scores,
            [row.verdict for row in rows],
            [row.role == HELPFUL for row in rows],
            [(row.problem_id, row.role) for row in rows],
        )
        return cls(
            **vars(columns),
            rows=rows,
            length=np.array([row.completion_tokens for row in rows], dtype=float),
            truncated=np.array([row.truncated for row in rows], dtype=bool),
        )

    @property
    def scored(self) -> bool:
        """Whether a verifier scored them."""
        return not np.isnan(self.scores).any()


def attack_reward(settings: RewardSettings, kind: str) -> RewardSettings:
    """What attackers of that kind are paid in a run of these settings.

    The run's own reward as it is. Of another kind its constants are the paper's, and CGC that would be uncentred with a
    running scale (`score_scale` refuses it) is calibrated.
    """
    if settings.kind == kind:
        return settings
    uncentred = kind == "cgc" and settings.scale == "running" and not settings.center
    scale = "calibrated" if uncentred else settings.scale
    return settings.model_copy(update={"kind": kind, "floor": None, "scale": scale})


def correctness_rewards(rollouts: Rollouts) -> np.ndarray:
    """+1 for a correct completion, else -1. (n,) float64."""
    return rewards.pay_correctness(rollouts)


def describe(rollouts: Rollouts, paid: np.ndarray) -> dict[str, float]:
    """Metrics of one batch by role and verdict (docs/metrics.md); nan for an empty cell.

    paid (n,): what each completion was paid.
    """
    correct, valid = rollouts.correct, rollouts.valid
    metrics: dict[str, float] = {"reward": float(paid.mean())}
    for name, mine in ((HELPFUL, rollouts.helpful), (SNEAKY, ~rollouts.helpful)):
        metrics[f"texts_{name}"] = float(mine.sum())
        metrics[f"accuracy_{name}"] = _mean(correct[mine])
        metrics[f"invalid_{name}"] = _mean(~valid[mine])
        metrics[f"length_{name}"] = _mean(rollouts.length[mine])
        metrics[f"reward_{name}"] = _mean(paid[mine])
        for label, cell in (("correct", correct), ("incorrect", valid & ~correct)):
            metrics[f"texts_{name}_{label}"] = float((mine & cell).sum())
            metrics[f"score_{name}_{label}"] = _mean(rollouts.scores[mine & cell])
    metrics["truncated"] = float(rollouts.truncated.mean())
    metrics["score_std_within"] = (
        rewards.within_group_std(rollouts.scores, rollouts.group) if rollouts.scored else float("nan")
    )
    metrics["flat_groups"] = float((spread(paid, rollouts.group) < 1e-8).mean())
    return metrics


def spread(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Largest minus smallest value of every group. values (n,), group (n,) numbered from 0 -> (groups,)."""
    groups = int(group.max()) + 1
    highest, lowest = np.full(groups, -np.inf), np.full(groups, np.inf)
    np.maximum.at(highest, group, values)
    np.minimum.at(lowest, group, values)
    return highest - lowest


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
