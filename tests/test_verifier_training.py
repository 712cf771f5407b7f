"""Training a verifier: its losses by hand, and what a pass sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from legibility.config import VerifierSettings
from legibility.models.verifier import Verifier
from legibility.problems.records import Problem
from legibility.verifier_training import LabelledSolution, cross_entropy_loss, pairwise_loss, train_verifier
from tests.support import PEN_TEXTS, PENS, load_verifier

T, F = True, False


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_pairwise_loss_by_hand():
    """Two problems: pairs (2, -1), (2, 0.5) of the first, (1, 3) of the second; no pair across problems."""
    scores = torch.tensor([2.0, -1.0, 0.5, 1.0, 3.0])
    correct = torch.tensor([T, F, F, T, F])
    problem = torch.tensor([0, 0, 0, 1, 1])
    ranked = (softplus(-3.0) + softplus(-1.5) + softplus(2.0)) / 3
    squares = (4 + 1 + 0.25 + 1 + 9) / 5
    assert pairwise_loss(scores, correct, problem, 0.0).item() == pytest.approx(ranked, rel=1e-5)
    assert pairwise_loss(scores, correct, problem, 0.1).item() == pytest.approx(ranked + 0.1 * squares, rel=1e-5)


def test_cross_entropy_by_hand():
    expected = (softplus(-2.0) + softplus(-1.0)) / 2  # -log sigmoid(2), -log(1 - sigmoid(-1))
    loss = cross_entropy_loss(torch.tensor([2.0, -1.0]), torch.tensor([T, F]), 0.1)
    assert loss.item() == pytest.approx(expected + 0.1 * (4 + 1) / 2, rel=1e-5)


@given(st.lists(st.tuples(st.floats(-5, 5), st.booleans(), st.integers(0, 2)), min_size=2, max_size=10))
def test_the_sign_of_both_losses(rows):
    """Gradients never push a correct score down or an incorrect one up (the paper prints this sign wrong)."""
    values, labels, problems = zip(*rows, strict=True)
    correct, problem = torch.tensor(labels), torch.tensor(problems)
    for name in ("pairwise", "cross entropy"):
        scores = torch.tensor(values, requires_grad=True)
        if name == "pairwise":
            loss = pairwise_loss(scores, correct, problem, 0.0)
        else:
            loss = cross_entropy_loss(scores, correct, 0.0)
        loss.backward()
        assert (scores.grad[correct] <= 0).all() and (scores.grad[~correct] >= 0).all()
        paired = (correct[:, None] != correct[None]) & (problem[:, None] == problem[None])
        moved = paired.any(1) if name == "pairwise" else torch.ones(len(rows), dtype=torch.bool)
        assert ((scores.grad != 0) == moved).all()


@pytest.mark.parametrize("labels", [[T, T, T], [F, F, F]])
def test_without_pairs_only_the_penalty_is_left(labels):
    scores = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    loss = pairwise_loss(scores, torch.tensor(labels), torch.zeros(3, dtype=torch.long), 0.5)
    assert loss.item() == pytest.approx(0.5 * 14 / 3)
    loss.backward()
    torch.testing.assert_close(scores.grad, 0.5 * 2 * scores.detach() / 3)
    assert pairwise_loss(scores, torch.tensor([T, F, F]), torch.tensor([0, 1, 2]), 0.0).item() == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        lambda s, c: pairwise_loss(s, c, torch.zeros(2, dtype=torch.long), 0.0),
        lambda s, c: cross_entropy_loss(s, c, 0.0),
    ],
)
def test_losses_are_finite_for_huge_scores(loss):
    for scale in (1e4, -1e4):
        assert torch.isfinite(loss(torch.tensor([scale, -scale]), torch.tensor([T, F])))


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
