"""Training on soft labels: the probe by hand, batches that hold every item once, and the loss of each objective."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.objectives import confidence_loss, cross_entropy_loss, product_loss
from legibility.weak_to_strong.training import _batches, _loss, fit_logistic
from tests.weak_to_strong.world import labelled_items


def test_a_probe_counts_every_item_as_right_p_and_as_wrong_1_minus_p_times():
    rng = np.random.default_rng(0)
    x, p = rng.standard_normal((50, 3)), np.round(rng.random(50), 1)
    rows = np.concatenate(
        [np.repeat(x, (10 * p).round().astype(int), 0), np.repeat(x, (10 - 10 * p).round().astype(int), 0)]
    )
    right = np.arange(len(rows)) < (10 * p).round().sum()
    scale = StandardScaler().fit(x)  # of the items, each once
    reference = LogisticRegression(C=0.1 / 10, max_iter=2000).fit(scale.transform(rows), right)
    found = fit_logistic(x, p).decision_function(x)
    assert found == pytest.approx(reference.decision_function(scale.transform(x)), abs=1e-3)


def test_every_pass_holds_every_item_once_and_batches_mix_problems():
    items = labelled_items(20)
    classifier = SimpleNamespace(length=len)
    encoded = [tuple(x.texts[0]) for x in items]
    endless = _batches(classifier, items, encoded, 8, np.random.default_rng(0))
    for _ in range(2):
        seen: list[int] = []
        while len(seen) < len(items):
            batch = list(itertools.chain(*next(endless)))
            assert len(batch) <= 8 and len({items[i].group for i in batch}) > 1
            seen += batch
        assert sorted(seen) == list(range(len(items)))


def test_each_objective_has_its_loss():
    settings = ExperimentSettings.model_validate(
        {
            "models": {"a": {"model": "nano-xs"}},
            "grid": [{"weak": ["a"], "strong": ["a"]}],
            "confidence": {"maximum": 0.5, "warmup": 0.0},
            "product": {"label_power": 2.0, "prediction_power": 0.5},
        }
    )
    logits, target = torch.tensor([[0.0, 1.0], [0.5, -0.5]]), torch.tensor([[0.2, 0.8], [0.7, 0.3]])
    expected = {
        "xent": cross_entropy_loss(logits, target),
        "confidence": confidence_loss(logits, target, 0.5),
        "product": product_loss(logits, target, label_power=2.0, prediction_power=0.5),
    }
    for objective, loss in expected.items():
        assert _loss(settings, objective, logits, target, None, 0, 10) == loss
    assert len({float(x) for x in expected.values()}) == 3
