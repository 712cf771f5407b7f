"""Losses, against hand-computed values and the public definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from legibility.weak_to_strong import confidence_loss
from legibility.weak_to_strong.objectives import confidence_weight, cross_entropy_loss, hardened, product_loss


def batch(seed: int, size: int = 32, classes: int = 2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, classes, generator=generator, dtype=torch.float32)
    weak = torch.softmax(2 * torch.randn(size, classes, generator=generator), -1)
    return logits, weak


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_two_class_losses_agree_with_the_public_definitions(seed, alpha):
    """Re-derived from the formulas of openai/weak-to-strong, in float64 NumPy, past its warm-up (where alpha is its aux_coef)."""
    logits, weak = batch(seed)
    z, w = logits.double().numpy(), weak.double().numpy()
    predictions = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    log_p = np.log(predictions)
    threshold = np.quantile(predictions[:, 0], w.mean(0)[1])
    strong = np.stack([predictions[:, 0] >= threshold, predictions[:, 0] < threshold], 1)
    expected = -((w * (1 - alpha) + strong * alpha) * log_p).sum(1).mean()
    assert confidence_loss(logits, weak, alpha).item() == pytest.approx(expected, abs=1e-6)
    assert cross_entropy_loss(logits, weak).item() == pytest.approx(-(w * log_p).sum(1).mean(), abs=1e-6)
    target = predictions**0.5 * w**1.5
    target /= target.sum(1, keepdims=True)
    found = product_loss(logits, weak, label_power=1.5, prediction_power=0.5)
    assert found.item() == pytest.approx(-(target * log_p).sum(1).mean(), abs=1e-6)


def test_confidence_loss_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    weak = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    # half the batch must be class 0: the first item; -log softmax = log(1 + e^-2) and log(1 + e^-1) on their own sides
    own = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    even = (F.cross_entropy(logits.detach(), weak)).item()
    loss = confidence_loss(logits, weak, 0.5)
    assert loss.item() == pytest.approx(0.5 * own + 0.5 * even, abs=1e-6)
    loss.backward()
    # the target is a constant, so the gradient is that of cross-entropy: (softmax - target) / batch
    target = 0.5 * weak + 0.5 * torch.eye(2)
    assert torch.allclose(logits.grad, (torch.softmax(logits.detach(), -1) - target) / 2, atol=1e-6)


@given(st.integers(0, 10**6), st.integers(4, 60), st.sampled_from([2, 3, 5]))
def test_hardened_predictions_keep_the_class_balance(seed, size, classes):
    logits, weak = batch(seed, size, classes)
    hard = hardened(logits, weak)
    assert torch.all(hard.sum(1) == 1) and set(hard.unique().tolist()) <= {0.0, 1.0}
    assert torch.all((hard.sum(0) - size * weak.mean(0)).abs() <= 1 + 1e-4)


def test_hardening_of_more_classes_reduces_to_the_threshold():
    logits, weak = batch(3, 40)
    three = torch.cat([logits, torch.full((40, 1), -1e4)], 1)
    weak_three = torch.cat([weak, torch.zeros(40, 1)], 1)
    assert (hardened(three, weak_three)[:, :2] != hardened(logits, weak)).any(1).sum() <= 1


def test_weights_are_sample_weights():
    logits, weak = batch(0, 4)
    doubled = torch.tensor([2.0, 1.0, 0.0, 1.0])
    rows = [0, 0, 1, 3]
    assert cross_entropy_loss(logits, weak, doubled).item() == pytest.approx(
        cross_entropy_loss(logits[rows], weak[rows]).item(), abs=1e-6
    )


def test_product_of_contradicting_certainties_is_the_label():
    loss = product_loss(torch.tensor([[200.0, -200.0]]), torch.tensor([[0.0, 1.0]]))
    assert math.isfinite(loss.item()) and loss.item() == pytest.approx(400)


def test_confidence_weight_ramps_linearly_without_the_public_jump():
    ramp = [confidence_weight(k, 100, maximum=0.5, warmup=0.2) for k in range(100)]
    assert ramp[0] == 0 and ramp[10] == pytest.approx(0.25) and ramp[20] == ramp[99] == 0.5
    assert max(np.diff(ramp)) < 0.03  # the public code's would jump by 0.45 at the end of warm-up
    assert confidence_weight(0, 100, maximum=0.5, warmup=0) == 0.5


def test_alpha_outside_0_1_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        confidence_loss(*batch(0), alpha=1.5)
