"""Ensembles: the soft minimum by hand, and that a whole one scores, explains, trains and is saved like one verifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from legibility.config import VerifierSettings
from legibility.errors import UserError
from legibility.forked_team import ForkedTeam
from legibility.models.verifier import Verifier
from legibility.models.verifier_ensemble import ENSEMBLE, VerifierEnsemble, load_verifier, pooled
from legibility.problems.records import Problem
from legibility.randomness import stream
from legibility.team import Team
from legibility.verifier_training import LabelledSolution, train_verifier

PROBLEMS = [Problem(f"p{i}", f"{i} + 2 = ?", str(i + 2)) for i in range(4)]
ITEMS = [
    LabelledSolution(p, f"{p.question[0]} + 2 = {int(p.answer) + wrong}", not wrong, "base", "base")
    for p in PROBLEMS
    for wrong in (0, 3)
]


def test_the_soft_minimum_over_members_by_hand():
    scores = torch.tensor([[1.0, 5.0, -3.0], [1.0, -5.0, 0.0]])
    expected = [1.0, -math.log((math.exp(-5) + math.exp(5)) / 2), -math.log((math.exp(3) + 1) / 2)]
    assert pooled(scores).tolist() == pytest.approx(expected)
    least = scores.min(0).values
    assert (pooled(scores) >= least).all() and (pooled(scores) <= least + math.log(2) + 1e-6).all()


@pytest.fixture(params=["likelihood", "last_token"])
def settings(request, tiny_prover_dir):
    return VerifierSettings(
        model=str(tiny_prover_dir), score=request.param, ensemble=3, updates=4, batch_problems=2, learning_rate=1e-2
    )


def trained(settings, team: Team | None = None) -> Verifier:
    verifier = load_verifier(settings, "cpu", seed=5)
    with (team or Team()).together(verifier, gradients=verifier.parameter_count()):
        train_verifier(verifier, ITEMS, settings, stream(0, "t"), team=team)
    return verifier


def scores(verifier: Verifier) -> np.ndarray:
    return verifier.score([x.problem for x in ITEMS], [x.text for x in ITEMS])


def test_one_member_is_the_plain_verifier(settings):
    alone = settings.model_copy(update={"ensemble": 1})
    verifier = load_verifier(alone, "cpu", seed=5)
    assert type(verifier) is Verifier and verifier.members == (verifier,)
    first = load_verifier(settings, "cpu", seed=5).members[0]
    assert scores(first).tolist() == scores(verifier).tolist()


def test_members_differ_and_their_soft_minimum_is_the_score(settings):
    verifier = trained(settings)
    assert isinstance(verifier, VerifierEnsemble)
    single = np.stack([scores(m) for m in verifier.members])
    assert single.std(0).min() > 1e-4  # other heads, other batches
    expected = -np.log(np.exp(-single.astype(np.float64)).mean(0))
    assert scores(verifier) == pytest.approx(expected, abs=1e-4)
    assert verifier.parameter_count() == 3 * verifier.members[0].parameter_count()
    assert len(verifier.parameters) == 3 * len(verifier.members[0].parameters)


def test_the_first_member_is_trained_as_it_would_be_alone(settings):
    alone = trained(settings.model_copy(update={"ensemble": 1}))
    assert scores(trained(settings).members[0]).tolist() == scores(alone).tolist()


def test_steps_of_members_are_numbered_on(settings):
    seen: list[int] = []
    verifier = load_verifier(settings, "cpu")
    final = train_verifier(verifier, ITEMS, settings, stream(0, "t"), lambda step, _: seen.append(step))
    assert seen == [4, 8, 12] and set(final) == {"loss", "pair_accuracy", "score_std"}


def test_a_saved_ensemble_scores_the_same_and_every_member_opens_alone(settings, tmp_path):
    verifier = trained(settings)
    verifier.save(tmp_path / "v")
    again = load_verifier(settings.model_copy(update={"ensemble": 1}), "cpu", source=str(tmp_path / "v"))
    assert isinstance(again, VerifierEnsemble)  # a folder knows what it is
    assert scores(again).tolist() == scores(verifier).tolist()
    if settings.score == "likelihood":
        AutoModelForCausalLM.from_pretrained(tmp_path / "v" / "member_2")
    plain = Verifier.load(settings, "cpu", source=str(tmp_path / "v" / "member_1"))
    assert scores(plain).tolist() == scores(verifier.members[1]).tolist()


def test_parts_of_an_explanation_add_up_to_the_score(tiny_prover_dir):
    settings = VerifierSettings(
        model=str(tiny_prover_dir), score="likelihood", ensemble=3, updates=4, learning_rate=1e-2
    )
    verifier = trained(settings)
    for item, score in zip(ITEMS, scores(verifier), strict=True):
        found = verifier.explain(item.problem, item.text)
        assert found.score == pytest.approx(float(score), abs=1e-4)
        assert found.rest + sum(t.share for t in found.tokens) == pytest.approx(found.score, abs=1e-6)
        assert "".join(t.text for t in found.tokens) == item.text


def test_workers_change_nothing_but_rounding(settings):
    assert scores(trained(settings, ForkedTeam(2))) == pytest.approx(scores(trained(settings)), abs=2e-3)


def test_a_missing_member_is_named(settings, tmp_path):
    verifier = load_verifier(settings, "cpu")
    verifier.save(tmp_path)
    for file in (tmp_path / "member_1").iterdir():
        file.unlink()
    (tmp_path / "member_1").rmdir()
    with pytest.raises(UserError, match="member_1 of 3 is missing"):
        load_verifier(settings, "cpu", source=str(tmp_path))
    (tmp_path / ENSEMBLE).write_text("{")
    with pytest.raises(UserError, match=ENSEMBLE):
        load_verifier(settings, "cpu", source=str(tmp_path))
