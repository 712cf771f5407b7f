"""Training a verifier: what it learns, what a pass sees, and that micro-batches change nothing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from legibility.config import VerifierSettings
from legibility.models.verifier import Verifier
from legibility.models.verifier_ensemble import load_verifier as load_any
from legibility.problems.records import Problem
from legibility.verifier_training import LabelledSolution, train_verifier
from tests.support import PEN_TEXTS, PENS, load_verifier


def separable(count: int = 24) -> list[LabelledSolution]:
    """Correct solutions say so; the rest of the text is noise."""
    rng = np.random.default_rng(0)
    items = []
    for i in range(count):
        problem = Problem(f"p{i}", f"Tom has {rng.integers(10)} pens. Ann has {rng.integers(10)}.", "1")
        for j in range(4):
            noise = " ".join(map(str, rng.integers(0, 10, rng.integers(1, 4))))
            items.append(LabelledSolution(problem, f"{noise} {'=' if j % 2 else '+'} 1", bool(j % 2), "base", "base"))
    return items


@pytest.mark.parametrize("loss", ["pairwise", "cross_entropy"])
def test_training_separates_what_can_be_separated(scorer_dir, loss):
    settings = VerifierSettings(model=str(scorer_dir), loss=loss, updates=40, batch_problems=8, learning_rate=1e-2)
    verifier = Verifier.load(settings, "cpu", seed=0)
    seen: list[int] = []
    metrics = train_verifier(
        verifier, separable(), settings, np.random.default_rng(0), lambda step, _: seen.append(step)
    )
    assert metrics["pair_accuracy"] > 0.95
    assert seen == sorted(seen) and seen[-1] == 40
    assert not verifier.model.training
    fresh = Problem("new", "Tom has 8 pens. Ann has 8.", "16")
    right, wrong = verifier.score([fresh] * 2, ["5 3 = 1", "5 3 + 1"])
    assert right > wrong + 1


def test_training_is_a_function_of_its_generator(scorer_dir):
    """Also for models with dropout: a resumed run starts with another global random state."""
    settings = VerifierSettings(model=str(scorer_dir), updates=4, batch_problems=5)
    results = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        verifier = Verifier.load(settings, "cpu", seed=0)
        train_verifier(verifier, separable(12), settings, np.random.default_rng(seed))
        results.append(verifier.score(PENS, PEN_TEXTS))
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_training_needs_something_to_learn_from(tiny_verifier_dir):
    settings = VerifierSettings(model=str(tiny_verifier_dir), updates=2)
    with pytest.raises(ValueError, match="no labelled solutions"):
        train_verifier(load_verifier(tiny_verifier_dir), [], settings, np.random.default_rng(0))


def test_a_pass_sees_every_problem_once_with_all_its_solutions(tiny_verifier_dir):
    settings = VerifierSettings(model=str(tiny_verifier_dir), updates=6, batch_problems=5)
    verifier, items, batches = load_verifier(tiny_verifier_dir), separable(13), []
    forward = verifier.forward
    verifier.forward = lambda groups: batches.append([tuple(t) for g in groups for t in g]) or forward(groups)
    train_verifier(verifier, items, settings, np.random.default_rng(0))
    encoded = [tuple(row) for row in verifier.encode([x.problem for x in items], [x.text for x in items])]
    for start in (0, 3):  # 13 problems in batches of 5 are three steps
        assert sorted(t for batch in batches[start : start + 3] for t in batch) == sorted(encoded)


KINDS = {
    "pairwise": {},
    "taught": {"score": "likelihood", "lm_weight": 0.3},
    "ensemble": {"ensemble": 2, "loss": "cross_entropy"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_give_the_same_weights(kind, tiny_prover_dir, monkeypatch):
    """Whole problems at a time (8 and 4 texts), and pieces of one (3)."""
    # Adam divides a gradient by its size, so rounding of one that is nearly 0 would become a whole step
    monkeypatch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-2))
    weights, losses = [], []
    for size in (None, 8, 4, 3):
        settings = VerifierSettings(
            model=str(tiny_prover_dir),
            updates=4,
            batch_problems=5,
            learning_rate=1e-3,
            micro_batch_size=size,
            **KINDS[kind],
        )
        verifier = load_any(settings, "cpu", seed=0)
        losses.append(train_verifier(verifier, separable(12), settings, np.random.default_rng(0))["loss"])
        weights.append(torch.cat([p.detach().flatten() for p in verifier.parameters]))
    fresh = torch.cat([p.detach().flatten() for p in load_any(settings, "cpu", seed=0).parameters])
    assert (weights[0] - fresh).abs().max() > 1e-4
    for split, loss in zip(weights[1:], losses[1:], strict=True):
        torch.testing.assert_close(split, weights[0], atol=1e-6, rtol=2e-7)
        assert loss == pytest.approx(losses[0], rel=1e-5)
