"""Better weak teachers: bagging, AdaBoost and gradient boosting of weak models (Sang et al. 2024).

The public code of S chooses the ensemble's size by test accuracy in one script; here it is chosen on
validation, always, and the test part is only predicted. Combination works on stored log-odds, so the
functions below are pure; `train_teacher` fits the members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logit
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from legibility.weak_to_strong.experiment_settings import TeacherSettings
from legibility.weak_to_strong.training import fit_logistic

Logits = dict[str, np.ndarray]  # part -> (items,)
Fit = Callable[[np.ndarray | None, int, int | None], Logits]  # (item weights, member, layers) -> log-odds by part
FLOOR = 1e-6


@dataclass
class Ensemble:
    """Combined log-odds by part; `accuracies` on validation of the first 1, 2, … members, `size` the chosen count."""

    logits: Logits
    size: int
    accuracies: list[float]
    weights: list[float] = field(default_factory=list)
    stopped: str | None = None


def bagging(settings: TeacherSettings, members: Sequence[Logits], truth: np.ndarray) -> Ensemble:
    """Mean probability or majority vote of the first k members; k by validation accuracy."""

    def combine(k: int, part: str) -> np.ndarray:
        votes = np.stack([m[part] for m in members[:k]])
        share = (votes > 0).mean(0) if settings.combine == "vote" else expit(votes).mean(0)
        return _log_odds(share)

    return _choose(len(members), combine, members[0], truth)


def adaboost(
    learn: Callable[[np.ndarray, int], Logits], count: int, rounds: int, truth: Mapping[str, np.ndarray], error_on: str
) -> Ensemble:
    """AdaBoost of `rounds` learners on `count` items; `learn(weights, round)` gives a learner's log-odds by part.

    `truth` holds labels of "validation" and (for the weights) of "weak". The learners' probabilities
    are averaged with their weights. Stops before a learner whose error reaches 0.5 (kept if it is the
    first: something must label), and after one without errors.
    """
    weights = np.full(count, 1 / count)
    members: list[Logits] = []
    votes: list[float] = []
    stopped = None
    for k in range(rounds):
        member = learn(weights, k)
        right = (member["weak"] > 0) == truth["weak"]
        if error_on == "training":
            error = weighted_error(weights, right)
        else:
            error = float(((member["validation"] > 0) != truth["validation"]).mean())
        if error >= 0.5:
            stopped = f"learner {k + 1} has error {error:.3f}"
            if not members:
                members, votes = [member], [1.0]
            break
        members.append(member)
        votes.append(learner_weight(error))
        if error == 0:
            stopped = f"learner {k + 1} has no errors"
            break
        weights = reweighted(weights, right, error)

    def combine(k: int, part: str) -> np.ndarray:
        share = np.array(votes[:k]) / sum(votes[:k])
        return _log_odds(share @ expit(np.stack([m[part] for m in members[:k]])))

    chosen = _choose(len(members), combine, members[0], truth["validation"])
    chosen.weights, chosen.stopped = votes, stopped
    return chosen


def weighted_error(weights: np.ndarray, right: np.ndarray) -> float:
    """Share of the weight on items the learner gets wrong."""
    return float(weights[~right].sum() / weights.sum())


def learner_weight(error: float) -> float:
    """log((1 - e) / e), with e kept off 0 and 1."""
    return float(-logit(np.clip(error, FLOOR, 1 - FLOOR)))


def reweighted(weights: np.ndarray, right: np.ndarray, error: float) -> np.ndarray:
    """w / (2 (1 - e)) where right, w / (2 e) where wrong, scaled to sum 1.

    With the weighted training error the scaling changes nothing: right and wrong items then hold half
    the weight each. With an error measured elsewhere (S) it is needed.
    """
    error = float(np.clip(error, FLOOR, 1 - FLOOR))
    new: np.ndarray = np.where(right, weights / (2 * (1 - error)), weights / (2 * error))
    new /= new.sum()
    return new


def gradient_boosting(
    settings: TeacherSettings, tables: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], seed: int
) -> Ensemble:
    """Small trees on frozen features, each fitted to what the sum so far gets wrong (the logistic loss's gradient).

    The log-odds grow by `shrinkage` times each tree's values (S accumulates 0.2 x logit).
    """
    total = {part: np.zeros(len(table)) for part, table in tables.items()}
    stages: list[Logits] = []
    for k in range(settings.members):
        residual = truth["weak"] - expit(total["weak"])
        tree = DecisionTreeRegressor(max_depth=2, min_samples_leaf=5, random_state=seed + k).fit(
            tables["weak"], residual
        )
        for part, table in tables.items():
            total[part] = total[part] + settings.shrinkage * 4 * tree.predict(table)  # 4: Newton step at p = 1/2
        stages.append(dict(total))
    return _choose(len(stages), lambda k, part: stages[k - 1][part], stages[0], truth["validation"])


def bagged_features(
    settings: TeacherSettings, tables: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], seed: int
) -> list[Logits]:
    """Logistic regressions on random halves of the frozen features, bootstrap items (scikit-learn's BaggingClassifier)."""
    base = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model = BaggingClassifier(base, n_estimators=settings.members, max_features=0.5, bootstrap=True, random_state=seed)
    model.fit(tables["weak"], truth["weak"])
    return [
        {part: member.decision_function(table[:, columns]) for part, table in tables.items()}
        for member, columns in zip(model.estimators_, model.estimators_features_, strict=True)
    ]


def train_teacher(
    settings: TeacherSettings,
    fit: Fit,
    tables: Callable[[], dict[str, np.ndarray]],
    layers: int,
    truth: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> Ensemble:
    """Train an ensemble teacher on half A.

    fit: trains one fine-tuned member. tables: frozen features (items, layers, width) by part, for
    probes. layers: depth of the weak model. truth: labels of "weak" and "validation", nothing else.
    """
    count = len(truth["weak"])
    probing = settings.learner == "probe"
    frozen = tables() if probing else {}
    last = {part: table[:, -1] for part, table in frozen.items()}
    seed = int(rng.integers(2**31))
    if settings.kind == "gradient_boosting":
        return gradient_boosting(settings, last, truth, seed)

    def learn(weights: np.ndarray, member: int, depth: int | None = None) -> Logits:
        if not probing:
            return fit(weights, member, depth)
        use = last if depth is None else {part: table[:, depth - 1] for part, table in frozen.items()}
        model = fit_logistic(use["weak"], truth["weak"].astype(float), weights)
        return {part: model.decision_function(table) for part, table in use.items()}

    if settings.kind == "adaboost":
        return adaboost(learn, count, settings.members, truth, settings.error_on)
    if settings.over == "features":
        return bagging(settings, bagged_features(settings, last, truth, seed), truth["validation"])
    if settings.over == "layers":
        depths = list(range(layers, max(0, layers - settings.members), -1))
        return bagging(settings, [learn(np.ones(count), k, d) for k, d in enumerate(depths)], truth["validation"])
    draws = [np.bincount(rng.integers(0, count, count), minlength=count).astype(float) for _ in range(settings.members)]
    return bagging(settings, [learn(w, k) for k, w in enumerate(draws)], truth["validation"])


def _choose(
    members: int, combine: Callable[[int, str], np.ndarray], parts: Mapping[str, object], truth: np.ndarray
) -> Ensemble:
    """The ensemble size of greatest validation accuracy; the smaller of equals."""
    accuracies = [float(((combine(k, "validation") > 0) == truth).mean()) for k in range(1, members + 1)]
    size = 1 + int(np.argmax(accuracies))
    return Ensemble({part: combine(size, part) for part in parts}, size, accuracies)


def _log_odds(share: np.ndarray) -> np.ndarray:
    result: np.ndarray = logit(np.clip(share, FLOOR, 1 - FLOOR))
    return result
