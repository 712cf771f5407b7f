"""Training one classifier on soft labels: the same lines for weak models, students and ceilings.

Burns et al. 2023, App. A: two epochs, batch 32, no early stopping in the headline number. Items are
encoded once; batches hold items of similar length, and items of one problem together so that the
problem is read once. Log-odds of validation and test are kept at every evaluation point, the last of
which is the trained model (of other parts only then): accuracy against step is arithmetic on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from legibility.divergence import refuse_divergence
from legibility.weak_to_strong.classifiers import (
    Classifier,
    Encoded,
    Surprisal,
    by_group,
    features,
    fill,
    load_classifier,
    logits_of,
    predict,
)
from legibility.weak_to_strong.experiment_settings import ExperimentSettings
from legibility.weak_to_strong.items import Item
from legibility.weak_to_strong.objectives import confidence_loss, confidence_weight, cross_entropy_loss, product_loss

CURVE = ("validation", "test")  # parts predicted at every evaluation point


@dataclass(frozen=True)
class Trained:
    """`steps` (points,) and, by part, log-odds (points, items) at those steps (one row: only the last); the last row is the final model."""

    steps: np.ndarray
    logits: dict[str, np.ndarray]


def train_student(
    config: ExperimentSettings,
    model: str,
    items: Sequence[Item],
    probabilities: np.ndarray,
    watched: Mapping[str, Sequence[Item]],
    *,
    objective: str = "xent",
    weights: np.ndarray | None = None,
    seed: int,
    rng: np.random.Generator,
    device: str,
    base_dir: Path | None = None,
    source: str | None = None,
    layers: int | None = None,
    frozen: Callable[[Sequence[Item]], np.ndarray] | None = None,
    curve: bool = True,
) -> Trained:
    """A classifier trained so that P(label) matches `probabilities` (n,), under an objective.

    weights (n,): of the items in the loss (boosting, bootstrap resampling). source: a folder to start
    from instead of the settings' model. layers: use only so many. `watched` parts are predicted.
    frozen: features (items, layers, width) of the untrained model, where someone keeps them already.
    curve: predict validation and test at every evaluation point, not only at the end.
    Raises UserError where a score is no finite number.
    """
    settings = config.models[model]
    if layers is not None:
        settings = settings.model_copy(update={"layers": layers})
    if (objective == "probe" or settings.train == "probe") and frozen is not None and source is None and layers is None:
        return _probe(frozen, items, probabilities, watched, weights)
    classifier = load_classifier(settings, device, seed=seed, source=source, base_dir=base_dir)
    if objective == "probe" or settings.train == "probe":
        return _probe(
            lambda part: features(classifier, part, classifier.encode(part)), items, probabilities, watched, weights
        )
    encoded = classifier.encode(items)
    if isinstance(classifier, Surprisal):
        classifier.calibrate([encoded[i] for i in rng.permutation(len(items))[:100]])
    parts = {name: (part, classifier.encode(part)) for name, part in watched.items()}
    training = config.training
    per_epoch = math.ceil(len(items) / training.batch_size)
    steps = max(1, round((settings.epochs or training.epochs) * per_epoch))
    evaluations = training.evaluations if curve else 1
    points = sorted({max(1, round(steps * (k + 1) / evaluations)) for k in range(evaluations)})
    groups = classifier.parameter_groups()
    optimizer = torch.optim.AdamW(groups, weight_decay=training.weight_decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [g["lr"] for g in groups], total_steps=steps + 1, pct_start=0.1
    )
    target = torch.tensor(np.stack([1 - probabilities, probabilities], 1), dtype=torch.float32, device=device)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    batches = _batches(classifier, items, encoded, training.batch_size, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)  # dropout
        for step in range(steps):
            classifier.module.train()
            scores, order = logits_of(classifier, encoded, next(batches))
            logits = torch.stack([torch.zeros_like(scores), scores], 1)
            loss = _loss(
                config, objective, logits, target[order], None if weight is None else weight[order], step, steps
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], 1.0)
            optimizer.step()
            schedule.step()
            if step + 1 in points:
                for name, (part, tokens) in parts.items():
                    if name not in CURVE and step + 1 < steps:
                        continue
                    kept[name].append(predict(classifier, part, tokens))
                    largest = float(np.abs(kept[name][-1]).max(initial=0.0))
                    place = f"{model}, {objective}, step {step + 1}"
                    refuse_divergence(place, {"a score": largest}, f"lower models.{model}.learning_rate")
    return Trained(np.array(points), {name: np.stack(rows) for name, rows in kept.items()})


def _loss(
    config: ExperimentSettings,
    objective: str,
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    step: int,
    steps: int,
) -> torch.Tensor:
    if objective == "confidence":
        schedule = config.confidence
        alpha = confidence_weight(step, steps, maximum=schedule.maximum, warmup=schedule.warmup)
        return confidence_loss(logits, target, alpha, weight)
    if objective == "product":
        powers = config.product
        return product_loss(
            logits, target, label_power=powers.label_power, prediction_power=powers.prediction_power, weights=weight
        )
    return cross_entropy_loss(logits, target, weight)


def _batches(
    classifier: Classifier, items: Sequence[Item], encoded: Sequence[Encoded], size: int, rng: np.random.Generator
) -> Iterator[list[list[int]]]:
    """Endless batches of index groups, bucketed by length, every item once per pass."""
    # groups of at most a quarter batch, so that a batch always mixes several problems
    groups = [g[i : i + max(1, size // 4)] for g in by_group(items) for i in range(0, len(g), max(1, size // 4))]
    length = np.array([max(classifier.length(encoded[i]) for i in g) for g in groups], dtype=float)
    while True:
        order = np.argsort(length + rng.uniform(0, 8, len(groups)), kind="stable")
        batches = fill([groups[i] for i in order], size)
        for k in rng.permutation(len(batches)):
            yield batches[k]


def _probe(
    read: Callable[[Sequence[Item]], np.ndarray],
    items: Sequence[Item],
    probabilities: np.ndarray,
    watched: Mapping[str, Sequence[Item]],
    weights: np.ndarray | None,
) -> Trained:
    """Logistic regression on the frozen last layer. Soft labels: every item counts as right p and as wrong 1 - p times."""
    table = read(items)[:, -1]
    model = fit_logistic(table, probabilities, weights)
    logits = {
        name: model.decision_function(read(part)[:, -1])[None].astype(np.float32) for name, part in watched.items()
    }
    return Trained(np.array([1]), logits)


def fit_logistic(table: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> Pipeline:
    """A standardised logistic regression (scikit-learn) on features (n, width) and soft labels (n,), weighted by (n,)."""
    share = np.ones(len(table)) if weights is None else weights * len(weights) / weights.sum()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    return model.fit(
        np.concatenate([table, table]),
        np.repeat([1, 0], len(table)),
        logisticregression__sample_weight=np.concatenate([share * probabilities, share * (1 - probabilities)]),
    )
