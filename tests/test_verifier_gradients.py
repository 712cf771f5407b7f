"""A verifier's losses by hand, and gradients that do not depend on how many texts are read at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from legibility.forked_team import ForkedTeam, can_fork
from legibility.models.verifier import Verifier
from legibility.player_settings import VerifierSettings
from legibility.problems.records import Problem
from legibility.team import Team
from legibility.verifier_gradients import Lesson, Totals, add_gradients, cross_entropy_loss, pairwise_loss, scores_of

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


def test_losses_of_parts_add_up_to_the_whole():
    """Two problems of 2 pairs and 1 pair, taken apart: each part is its share of the step's means."""
    scores, correct = torch.tensor([2.0, -1.0, 0.5, 1.0, 3.0]), torch.tensor([T, F, F, T, F])
    problem, totals = torch.tensor([0, 0, 0, 1, 1]), Totals(texts=5, pairs=3, taught=0)
    first, second = (pairwise_loss(scores[x], correct[x], problem[x], 0.1, totals) for x in (slice(0, 3), slice(3, 5)))
    assert first.item() == pytest.approx((softplus(-3.0) + softplus(-1.5)) / 3 + 0.1 * (4 + 1 + 0.25) / 5, rel=1e-5)
    assert (first + second).item() == pytest.approx(pairwise_loss(scores, correct, problem, 0.1).item(), rel=1e-6)
    parts = sum(cross_entropy_loss(scores[x], correct[x], 0.1, totals) for x in (slice(0, 3), slice(3, 5)))
    assert parts.item() == pytest.approx(cross_entropy_loss(scores, correct, 0.1).item(), rel=1e-6)


KINDS = {
    "last_token": {},
    "cross_entropy": {"loss": "cross_entropy"},
    "likelihood": {"score": "likelihood", "lm_weight": 0.3},
    "token": {"score": "token", "lm_weight": 0.2},
    "encoder": {},
}


def lessons_of(verifier: Verifier) -> list[Lesson]:
    """Four problems of 2, 5, 1 and 4 texts; one has no pair."""
    rng, made = np.random.default_rng(0), []
    for k, count in enumerate((2, 5, 1, 4)):
        problem = Problem(f"p{k}", f"Tom has {k} pens. Ann has {2 * k}.", "1")
        texts = [" ".join(map(str, rng.integers(0, 9, 2 + j))) + " = 1" for j in range(count)]
        made.append(Lesson(verifier.encode([problem] * count, texts), [j % 2 == 0 for j in range(count)]))
    return made


def settings_of(kind: str, folder, size: int | None = None) -> VerifierSettings:
    return VerifierSettings(model=str(folder), l2=0.05, micro_batch_size=size, **KINDS[kind])


def flat_gradients(verifier: Verifier) -> torch.Tensor:
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in verifier.parameters])


def whole_gradients(verifier: Verifier, lessons: Sequence[Lesson], settings: VerifierSettings) -> torch.Tensor:
    """Gradients by one pass over all texts and autograd, the loss written down anew."""
    scores = verifier.forward([x.texts for x in lessons])
    parts, pairs, start = [], 0, 0
    for lesson in lessons:
        own = scores[start : start + len(lesson)]
        start += len(lesson)
        for i, good in enumerate(lesson.correct):
            if settings.loss == "cross_entropy":
                parts.append(torch.nn.functional.softplus(-own[i] if good else own[i]))
                pairs += 1
            for j, other in enumerate(lesson.correct):
                if settings.loss == "pairwise" and good and not other:
                    parts.append(torch.nn.functional.softplus(own[j] - own[i]))
                    pairs += 1
    loss = torch.stack(parts).sum() / pairs + settings.l2 * scores.square().mean()
    if settings.lm_weight:
        right = [t for x in lessons for t, c in zip(x.texts, x.correct, strict=True) if c]
        reading = verifier.read([[t] for t in right], logprobs=True)
        loss = loss - settings.lm_weight * reading.logprobs.mean()
    verifier.model.zero_grad()
    loss.backward()
    return flat_gradients(verifier)


@pytest.fixture
def verifier_of(tiny_prover_dir, tiny_bert_dir):
    def load(kind: str, size: int | None = None) -> tuple[Verifier, VerifierSettings]:
        settings = settings_of(kind, tiny_bert_dir if kind == "encoder" else tiny_prover_dir, size)
        return Verifier.load(settings, "cpu", seed=0), settings

    return load


def in_double_precision(verifier: Verifier) -> None:
    """Leave rounding to the few places that ask for float32: how much more there is depends on the processor."""
    for tensor in (*verifier.parameters, *(b for b in verifier.model.buffers() if b.is_floating_point())):
        tensor.data = tensor.data.double()


def largest_reading(verifier: Verifier, monkeypatch) -> list[int]:
    """Texts of every pass through the model, noted as they are made."""
    seen: list[int] = []
    for name in ("forward", "read"):
        own = getattr(verifier, name)

        def noted(groups, *rest, own=own, **more):
            seen.append(sum(map(len, groups)))
            return own(groups, *rest, **more)

        monkeypatch.setattr(verifier, name, noted)
    return seen


@pytest.mark.parametrize("size", [None, 1, 2, 3, 5, 7, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_one_pass_over_all_texts(kind, size, verifier_of, monkeypatch):
    verifier, settings = verifier_of(kind, size)
    in_double_precision(verifier)
    lessons = lessons_of(verifier)
    expected = whole_gradients(verifier, lessons, settings)
    for p in verifier.parameters:
        p.grad = None
    seen = largest_reading(verifier, monkeypatch)
    outcome = add_gradients(Team(), verifier, lessons, settings)
    assert max(seen) == min(size or 12, 12 if size is None or size >= 12 else 7 if size == 7 else 5)
    found = flat_gradients(verifier)
    # rounding of a score moves a pair's gradient by as much, so large scores have coarser gradients
    close = 1e-6 * max(1.0, outcome.scores.abs().max().item() * expected.abs().max().item())
    assert close < 1e-3 * expected.abs().max()
    torch.testing.assert_close(found, expected, atol=close, rtol=0)
    assert outcome.problem.tolist() == [0] * 2 + [1] * 5 + [2] + [3] * 4
    torch.testing.assert_close(outcome.scores, scores_of(Team(), verifier, lessons, 4), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_problem_that_is_read_twice_meets_the_same_dropout(size, verifier_of):
    """Reference: the same pieces in the same order with all their graphs kept, from the same random state."""
    verifier, settings = verifier_of("encoder", size)
    verifier.model.train()
    lesson = lessons_of(verifier)[1]
    torch.manual_seed(3)
    pieces = [lesson.texts[i : i + size] for i in range(0, len(lesson), size)]
    scores = torch.cat([verifier.forward([piece]) for piece in pieces])
    pairwise_loss(scores, torch.tensor(lesson.correct), torch.zeros(5, dtype=torch.long), settings.l2).backward()
    expected, afterwards = flat_gradients(verifier), torch.get_rng_state()
    for p in verifier.parameters:
        p.grad = None
    torch.manual_seed(3)
    outcome = add_gradients(Team(), verifier, [lesson], settings)
    torch.testing.assert_close(outcome.scores, scores.detach())
    torch.testing.assert_close(flat_gradients(verifier), expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(torch.get_rng_state(), afterwards), "the second reading draws nothing anew"
    torch.manual_seed(4)
    assert not torch.allclose(add_gradients(Team(), verifier, [lesson], settings).scores, outcome.scores)


def shared(team: Team, verifier: Verifier, lessons: list[Lesson], settings: VerifierSettings) -> tuple:
    outcome = add_gradients(team, verifier, lessons, settings)
    team.add_gradients(verifier.parameters)
    return outcome.loss.item(), outcome.scores.numpy(), flat_gradients(verifier).numpy()


@pytest.mark.skipif(not can_fork(), reason="processes are forked on Linux without a GPU only")
@pytest.mark.parametrize("workers", [2, 5])  # five have more processes than there are problems
def test_a_team_adds_up_to_the_same(workers, verifier_of):
    torch.set_num_threads(1)
    verifier, settings = verifier_of("likelihood", 2)
    lessons = lessons_of(verifier)
    alone = shared(Team(), verifier, lessons, settings)
    for p in verifier.parameters:
        p.grad = None
    team = ForkedTeam(workers)
    with team.together(verifier, gradients=verifier.parameter_count()):
        found = team.run(shared, team, verifier, lessons, settings)
    for loss, scores, gradients in found:
        assert loss == pytest.approx(alone[0], rel=1e-6)
        np.testing.assert_allclose(scores, alone[1], atol=1e-5)
        np.testing.assert_allclose(gradients, alone[2], atol=1e-6 * max(1.0, np.abs(alone[2]).max()), rtol=1e-5)
