"""PGR, agreement, intervals, objectives: against hand-computed values, planted teachers and the public definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from legibility.weak_to_strong import confidence_loss, pgr
from legibility.weak_to_strong.objectives import confidence_weight, cross_entropy_loss, hardened, product_loss
from legibility.weak_to_strong.pgr import agreement, crossed_bootstrap, pgr_estimate

# ---------------------------------------------------------------- PGR


@pytest.mark.parametrize(
    ("weak", "student", "ceiling", "expected"),
    [
        (0.6, 0.7, 0.8, 0.5),
        (0.6, 0.6, 0.8, 0.0),
        (0.6, 0.8, 0.8, 1.0),
        (0.6, 0.5, 0.8, -0.5),
        (0.566, 0.619, 0.645, 0.6708860759),
    ],
)
def test_pgr_by_hand(weak, student, ceiling, expected):
    assert pgr(weak, student, ceiling) == pytest.approx(expected)


def test_pgr_is_undefined_without_a_gap():
    assert math.isnan(pgr(0.7, 0.8, 0.7)) and math.isnan(pgr(0.7, 0.65, 0.6))


def table(accuracies, items=400, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.random(items) < a for a in accuracies])


def estimate(weak, student, ceiling, groups=None):
    groups = range(weak.shape[1]) if groups is None else groups
    return pgr_estimate(weak, student, ceiling, groups, resamples=300, confidence=0.95, rng=np.random.default_rng(0))


def test_pgr_estimate_is_the_ratio_of_means_and_its_interval_holds_it():
    weak, student, ceiling = table([0.6] * 3, seed=1), table([0.7] * 3, seed=2), table([0.9] * 3, seed=3)
    found = estimate(weak, student, ceiling)
    assert found["value"] == pytest.approx((student.mean() - weak.mean()) / (ceiling.mean() - weak.mean()))
    assert found["low"] < found["value"] < found["high"] and "undefined" not in found


def test_pgr_estimate_says_why_it_is_undefined():
    weak, ceiling = table([0.7, 0.7], seed=1), table([0.7, 0.7], seed=2)
    found = estimate(weak, table([0.8, 0.8], seed=3), ceiling)
    assert (found["value"], found["low"], found["high"]) == (None, None, None)
    assert "no gap to recover" in found["undefined"]


def test_intervals_count_problems_not_items_and_seeds():
    one_each = table([0.7])
    repeated = np.repeat(one_each[:, :40], 10, axis=1)  # 400 items, but 40 problems

    def width(t, groups):
        e, _ = crossed_bootstrap(
            {"x": t}, groups, lambda m: m["x"], resamples=400, confidence=0.95, rng=np.random.default_rng(0)
        )
        return e["high"] - e["low"]

    assert width(repeated, np.repeat(np.arange(40), 10)) > 2 * width(one_each, range(400))
    apart = np.stack([np.ones(400), np.zeros(400)])  # seeds that disagree about everything
    assert width(apart, range(400)) > 0.9


def test_agreement_by_hand():
    truth = np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    supervisor = np.array([1, 1, 0, 0, 0, 1], dtype=bool)  # wrong on items 2 and 5
    student = np.array([1, 0, 0, 0, 0, 0], dtype=bool)
    assert agreement(student, supervisor, truth) == {
        "all": pytest.approx(4 / 6),
        "supervisor_right": 0.75,
        "supervisor_wrong": 0.5,
    }
    assert agreement(student, truth, truth)["supervisor_wrong"] is None


# ---------------------------------------------------------------- planted teachers


def world(n: int, seed: int):
    """Items with a feature that is the truth and one that a weak teacher might follow instead."""
    rng = np.random.default_rng(seed)
    truth, style = rng.random(n) < 0.5, rng.random(n) < 0.5
    x = np.stack([truth + 0.3 * rng.standard_normal(n), style + 0.1 * rng.standard_normal(n)], 1)
    return x, truth, style


def taught(labels_of, error: float):
    """Accuracy of teacher and student on held-out items; the student sees both features."""
    x, truth, style = world(4000, 0)
    labels = labels_of(truth, style, error, np.random.default_rng(5))
    test, test_truth, test_style = world(4000, 1)
    student = LogisticRegression().fit(x, labels)
    told = labels_of(test_truth, test_style, error, np.random.default_rng(6))
    said = student.predict(test)
    ceiling = LogisticRegression().fit(x, truth).score(test, test_truth)
    return pgr((told == test_truth).mean(), (said == test_truth).mean(), ceiling), agreement(said, told, test_truth)


def random_errors(truth, style, error, rng):
    return truth ^ (rng.random(len(truth)) < error)


def systematic_errors(truth, style, error, rng):
    """Wrong wherever the style is 1 and the truth 0 (about a quarter of the items)."""
    return truth | style


@pytest.mark.parametrize("error", [0.1, 0.25, 0.4])
def test_a_student_recovers_from_random_errors(error):
    recovered, agreed = taught(random_errors, error)
    assert recovered > 0.9
    assert agreed["supervisor_wrong"] < 0.15


def test_a_student_imitates_systematic_errors():
    recovered, agreed = taught(systematic_errors, 0.25)
    assert recovered < 0.05  # no better than its teacher, in fact slightly worse
    assert agreed["supervisor_wrong"] > 0.9


# ---------------------------------------------------------------- objectives


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
