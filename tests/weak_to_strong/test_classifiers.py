"""The likelihood head."""

from __future__ import annotations

import pytest

from legibility.problems.records import Problem
from legibility.weak_to_strong.classifiers import load_classifier
from legibility.weak_to_strong.experiment_settings import ModelSettings
from legibility.weak_to_strong.items import Item


def test_likelihood_head_reads_nothing_else(tiny_experiment, tmp_path):
    """Two features per text, and scores that move with them alone."""
    settings = ModelSettings.model_validate({**tiny_experiment["models"]["big"], "head": "likelihood"})
    classifier = load_classifier(settings, "cpu", seed=0)
    items = [Item(str(k), str(k), Problem(str(k), f"{k} + 1?", ""), (f"{k} + 1 = {k + 1}",), True) for k in range(3)]
    encoded = classifier.encode(items)
    assert classifier.hidden([e[0] for e in encoded]).shape == (3, 1, 2)
    assert classifier.scores([[e[0]] for e in encoded]).tolist() == [0, 0, 0]
    classifier.head.likelihood.weight.data.fill_(1.0)
    expected = classifier.hidden([e[0] for e in encoded]).sum((1, 2))
    assert classifier.scores([[e[0]] for e in encoded]).tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert not classifier.head.features.weight.requires_grad
