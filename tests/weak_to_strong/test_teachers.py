"""Ensemble teachers: hand-computed weights, scikit-learn as reference, no look at the test part."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from legibility.weak_to_strong.experiment_settings import TeacherSettings
from legibility.weak_to_strong.teachers import (
    adaboost,
    bagging,
    gradient_boosting,
    learner_weight,
    reweighted,
    train_teacher,
    weighted_error,
)


def test_adaboost_weights_by_hand():
    weights, right = np.full(5, 0.2), np.array([True, True, True, True, False])
    error = weighted_error(weights, right)
    assert error == pytest.approx(0.2)
    assert learner_weight(error) == pytest.approx(math.log(4))
    new = reweighted(weights, right, error)
    assert new == pytest.approx([0.125] * 4 + [0.5])  # 0.2 / 1.6 and 0.2 / 0.4: half the weight on the mistakes
    assert reweighted(weights, right, 0.4).sum() == pytest.approx(1)  # an error measured elsewhere: rescaled
    assert learner_weight(0.5) == pytest.approx(0) and math.isfinite(learner_weight(0.0))


def stump_world(seed: int, n: int = 300):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    return x, x[:, 0] + x[:, 1] * x[:, 2] > 0.2


def test_adaboost_is_scikit_learns():
    x, y = stump_world(0)
    reference = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=1, random_state=0), n_estimators=6, random_state=0
    ).fit(x, y)
    seen = []

    def learn(weights, k):
        seen.append(weights)
        stump = DecisionTreeClassifier(max_depth=1, random_state=0).fit(x, y, sample_weight=weights)
        values = np.where(stump.predict(x), 5.0, -5.0)
        return {"weak": values, "validation": values}

    found = adaboost(learn, len(x), 6, {"weak": y, "validation": y}, "training")
    assert found.weights == pytest.approx(reference.estimator_weights_.tolist())
    errors = [weighted_error(w, e.predict(x) == y) for w, e in zip(seen, reference.estimators_, strict=True)]
    assert errors == pytest.approx(reference.estimator_errors_.tolist())


def test_adaboost_stops_at_a_learner_no_better_than_chance():
    truth = {"weak": np.array([1, 1, 0, 0], dtype=bool), "validation": np.array([1, 0, 1, 0], dtype=bool)}
    good, bad = np.array([2.0, -2, 2, -2]), np.array([2.0, 2, -2, -2])  # 0 and half of validation wrong

    def learner(values):
        return {"weak": np.array([1.0, 1, -1, 1]), "validation": values}

    almost = learner(np.array([2.0, -2, 2, 2]))
    found = adaboost(lambda w, k: [almost, learner(bad), learner(good)][k], 4, 3, truth, "validation")
    assert len(found.weights) == 1 and "0.500" in found.stopped
    only = adaboost(lambda w, k: learner(bad), 4, 3, truth, "validation")
    assert len(only.weights) == 1  # something must label
    perfect = adaboost(lambda w, k: learner(good), 4, 3, truth, "validation")
    assert len(perfect.weights) == 1 and "no errors" in perfect.stopped


def members(test_seed: int = 0):
    """Five members; the first three are best together on validation, whatever the test part holds."""
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.5
    wrong = [rng.random(200) < e for e in (0.25, 0.25, 0.25, 0.6, 0.7)]
    test = np.random.default_rng(test_seed).standard_normal((5, 50))
    return [{"validation": np.where(truth ^ w, 1.0, -1.0), "test": t} for w, t in zip(wrong, test, strict=True)], truth


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_bagging_size_is_chosen_on_validation(combine):
    found = [bagging(TeacherSettings(kind="bagging", combine=combine), *members(seed)) for seed in (0, 1)]
    assert found[0].size == found[1].size == 3  # another test part changes nothing
    assert found[0].accuracies[2] == max(found[0].accuracies)
    drawn, _ = members(0)
    votes = np.stack([m["test"] for m in drawn[:3]])
    share = (votes > 0).mean(0) if combine == "vote" else expit(votes).mean(0)
    assert expit(found[0].logits["test"]) == pytest.approx(share, abs=1e-5)


def test_gradient_boosting_learns_and_stops_where_validation_is_best():
    x, y = stump_world(1)
    v, vy = stump_world(2)
    settings = TeacherSettings(kind="gradient_boosting", learner="probe", members=40)
    found = gradient_boosting(settings, {"weak": x, "validation": v}, {"weak": y, "validation": vy}, 0)
    assert found.accuracies[found.size - 1] == max(found.accuracies) > 0.75
    assert ((found.logits["validation"] > 0) == vy).mean() == pytest.approx(max(found.accuracies))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "bagging", "over": "features", "learner": "probe"},
        {"kind": "bagging", "over": "layers", "learner": "probe", "members": 2},
        {"kind": "bagging", "learner": "probe"},
        {"kind": "adaboost", "learner": "probe", "members": 3},
        {"kind": "gradient_boosting", "learner": "probe"},
    ],
)
def test_every_probe_teacher_labels_every_part(settings):
    x, y = stump_world(1)
    v, vy = stump_world(2)
    tables = {"weak": np.stack([x, -x], 1), "validation": np.stack([v, -v], 1), "test": np.stack([v, -v], 1)[:50]}
    found = train_teacher(
        TeacherSettings(**settings), None, lambda: tables, 2, {"weak": y, "validation": vy}, np.random.default_rng(0)
    )
    assert {k: len(z) for k, z in found.logits.items()} == {"weak": 300, "validation": 300, "test": 50}
    assert ((found.logits["validation"] > 0) == vy).mean() > 0.55


def test_bagging_members_are_fitted_to_bootstrap_counts():
    drawn = []

    def fit(weights, member, layers):
        drawn.append(weights)
        return {"validation": np.ones(4), "test": np.ones(2)}

    train_teacher(
        TeacherSettings(kind="bagging", members=3),
        fit,
        dict,
        2,
        {"weak": np.ones(10, bool), "validation": np.ones(4, bool)},
        np.random.default_rng(0),
    )
    assert all(w.sum() == 10 and (w == np.round(w)).all() for w in drawn) and not np.array_equal(drawn[0], drawn[1])
