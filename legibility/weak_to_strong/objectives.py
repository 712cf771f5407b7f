"""What a strong student is trained to match: losses of logits against a weak supervisor's probabilities.

Burns et al. 2023, Sec. 3 and 4.3 (appendix A.4 for the confidence loss), and the public code
openai/weak-to-strong, whose definitions of `xent`, `logconf` and `product` these are. One departure:
there, during warm-up, the weight of the student's own predictions is `step_fraction` (0 to 0.1) times
its maximum and then jumps to the maximum. `confidence_weight` is the linear ramp the paper describes.

All losses take logits (batch, classes) and probabilities of the same shape and return the mean over
the batch, or with `weights` (batch,) the weighted mean (used by boosting and bootstrap resampling).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment


def cross_entropy_loss(
    logits: torch.Tensor, weak_probabilities: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy against soft labels."""
    losses = F.cross_entropy(logits.float(), weak_probabilities.float(), reduction="none")
    return losses.mean() if weights is None else (losses * weights).sum() / weights.sum()


def confidence_loss(
    logits: torch.Tensor, weak_probabilities: torch.Tensor, alpha: float, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """(1 - alpha) CE(student, weak) + alpha CE(student, the student's own hardened predictions).

    Hardening keeps the class balance of the batch's weak labels (see `hardened`). The target is a
    constant: no gradient flows through it. Raises ValueError unless 0 <= alpha <= 1.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    target = (1 - alpha) * weak_probabilities.float() + alpha * hardened(logits, weak_probabilities)
    return cross_entropy_loss(logits, target, weights)


def product_loss(
    logits: torch.Tensor,
    weak_probabilities: torch.Tensor,
    *,
    label_power: float = 1.0,
    prediction_power: float = 1.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy against predictions^prediction_power * labels^label_power, renormalised and held constant."""
    predictions = torch.softmax(logits.detach().float(), -1)
    target = predictions**prediction_power * weak_probabilities.float() ** label_power
    total = target.sum(-1, keepdim=True)
    target = torch.where(total > 0, target / total, weak_probabilities.float())  # contradicting certainties: the label
    return cross_entropy_loss(logits, target, weights)


def hardened(logits: torch.Tensor, weak_probabilities: torch.Tensor) -> torch.Tensor:
    """One-hot predictions (batch, classes), thresholded so that classes are as frequent as in the weak labels.

    Two classes: class 0 where its probability reaches the batch quantile at the mean weak label of
    class 1, as in the public code. More classes (ours): the assignment of greatest log-likelihood among
    those with the weak labels' class counts, rounded; for two classes both are the same but for ties.
    """
    predictions = torch.softmax(logits.detach().float(), -1)
    mean = weak_probabilities.float().mean(0)
    if predictions.shape[1] == 2:
        first = predictions[:, 0] >= torch.quantile(predictions[:, 0], mean[1].clamp(0, 1))
        return torch.stack([first, ~first], 1).float()
    chosen = _balanced_assignment(predictions.clamp_min(1e-12).log().cpu().numpy(), mean.cpu().numpy())
    return F.one_hot(torch.from_numpy(chosen).to(logits.device), predictions.shape[1]).float()


def confidence_weight(step: int, steps: int, *, maximum: float, warmup: float) -> float:
    """Alpha at `step` (0-based) of `steps`: linear from 0 to `maximum` over the first `warmup` share, then constant."""
    ramp = warmup * steps
    return maximum * min(1.0, step / ramp) if ramp > 0 else maximum


def _balanced_assignment(log_probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Class of every item, (batch,), with class counts in proportion to `shares` (largest remainders)."""
    exact = shares / shares.sum() * len(log_probabilities)
    counts = np.floor(exact).astype(int)
    for k in np.argsort(counts - exact, kind="stable")[: len(log_probabilities) - counts.sum()]:
        counts[k] += 1
    slots = np.repeat(np.arange(len(shares)), counts)
    rows, columns = linear_sum_assignment(log_probabilities[:, slots], maximize=True)
    chosen: np.ndarray = slots[columns[np.argsort(rows)]]
    return chosen
