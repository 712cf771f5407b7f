"""The built-in pair: its tokenizer, its texts, and what pre-training does to a very small model."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from legibility.grading import grade
from legibility.models.nano import (
    BOS,
    CURRICULUM,
    END,
    HELPFUL,
    POLISH,
    SNEAKY,
    SOLUTION,
    NanoSize,
    Stage,
    build,
    pretrain,
    training_batches,
    training_questions,
    training_texts,
    trapezoid,
)
from legibility.problems.generator import PRETRAIN_FAMILIES, generate_problems

MIXED = Stage(1.0, {1: 1.0}, {"steps": 1.0}, sneaky=0.5)


def test_any_text_survives_and_a_digit_is_a_token(tiny_tokenizer):
    text = "Ann has 70 pens.\n3 + 4 = 7 漢字 é"
    assert tiny_tokenizer.decode(tiny_tokenizer(text)["input_ids"]) == text
    pieces = [tiny_tokenizer.decode([i]) for i in tiny_tokenizer(" 705")["input_ids"]]
    assert [piece.strip() for piece in pieces if piece.strip()] == ["7", "0", "5"]


def test_shares_of_a_curriculum_add_up():
    for curriculum in (CURRICULUM, POLISH):
        assert sum(stage.share for stage in curriculum) == pytest.approx(1)


def test_the_role_of_a_text_tells_whether_it_is_flawed():
    answers = {
        p.question: p.answer for p in generate_problems(64, 3 * 100_003, steps={1: 1.0}, families=PRETRAIN_FAMILIES)
    }
    texts = list(islice(training_texts(3, MIXED, roles=True, chunk=64), 64))
    roles = []
    for prompt, solution in texts:
        role = HELPFUL if prompt.startswith(HELPFUL) else SNEAKY
        question = prompt.removeprefix(role).removesuffix(SOLUTION)
        verdict = grade(solution.removesuffix(END), answers[question]).value
        assert verdict == ("correct" if role == HELPFUL else "incorrect")
        roles.append(role)
    assert 0.3 < np.mean([role == SNEAKY for role in roles]) < 0.7


def test_the_questions_that_are_read_are_known_beforehand(tiny_tokenizer):
    """Stages of 7 and 13 steps: each draws one lot of batches and leaves some unused."""
    size = NanoSize(32, 1, 20, batch=4)
    stages = (Stage(0.35, {1: 1.0}, {"steps": 1.0}, 0.0), Stage(0.65, {2: 1.0}, {"steps": 1.0}, 0.4))
    batches = list(training_batches(size, tiny_tokenizer, seed=2, roles=False, curriculum=stages))
    read = {tiny_tokenizer.decode(ids).removeprefix(BOS) for batch in batches for ids in batch.prompts}
    drawn = [f"{q}{SOLUTION}" for q in training_questions(size, seed=2, curriculum=stages)]
    assert len(batches) == 20 and len(drawn) == 2 * 16 * 4
    assert len(read) > 70 and read <= set(drawn)
    assert batches[0].tokens == sum(map(len, batches[0].prompts)) + sum(map(len, batches[0].targets))


def test_without_roles_the_prompt_does_not_tell():
    with_roles = islice(training_texts(3, MIXED, roles=True, chunk=32), 32)
    without = islice(training_texts(3, MIXED, roles=False, chunk=32), 32)
    for (prompt, solution), (plain, same) in zip(with_roles, without, strict=True):
        assert plain.startswith(BOS) and plain.removeprefix(BOS) == prompt.removeprefix(HELPFUL).removeprefix(SNEAKY)
        assert same == solution


def test_the_rate_warms_up_holds_and_decays():
    rates = [trapezoid(step, 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(1 / 20) and rates[19] == 1.0
    assert all(rate == 1.0 for rate in rates[19:601])
    assert rates[-1] == pytest.approx(0.02) and rates == rates[:20] + sorted(rates[20:], reverse=True)


def test_pretraining_lowers_the_loss_and_is_a_function_of_its_seed(tiny_tokenizer):
    size = NanoSize(32, 1, steps=30, learning_rate=1e-2, batch=8)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    untrained = build(size, tiny_tokenizer, seed=4)
    assert torch.equal(torch.get_rng_state(), before)  # the global random state is left alone
    models = []
    for steps in (1, 30, 30):
        short = NanoSize(32, 1, steps=steps, learning_rate=1e-2, batch=8)
        model, stats = pretrain(short, tiny_tokenizer, seed=4, roles=True, curriculum=(MIXED,), log=lambda _: None)
        models.append((model, stats))
    (_, first), (one, trained), (other, _) = models
    assert trained["loss"] < first["loss"] - 1
    assert trained["parameters"] == sum(p.numel() for p in untrained.parameters())
    weights = [m.model.embed_tokens.weight for m in (one, other, untrained)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
