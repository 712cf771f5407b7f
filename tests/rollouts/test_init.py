"""Sampling: every engine draws the same completions, from the model's own distribution, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from legibility.rollouts import sample
from legibility.rollouts.completion import Stretch, Stretches
from tests.rollouts.drawn import END, ENGINES, SMALL, flat, ids
from tests.support import ARCHITECTURES, forward_logprobs, prover_of, tiny_model

PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 0, 12], [3, 3, 3, 3, 3, 3, 3]]


# ---------------------------------------------------------------- engines


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_engines_agree(name, byte_tokenizer):
    prover = prover_of(tiny_model(name, byte_tokenizer), byte_tokenizer)
    fast, plain = (sample(prover, PROMPTS, 3, seed=4, max_new_tokens=12, engine=e) for e in ("fast", "hf"))
    assert ids(fast) == ids(plain)
    assert [[c.truncated for c in g] for g in fast] == [[c.truncated for c in g] for g in plain]
    for one, other in zip(flat(fast), flat(plain), strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logprobs_are_those_of_the_model(name, temperature, engine, byte_tokenizer):
    model = tiny_model(name, byte_tokenizer)
    prover = prover_of(model, byte_tokenizer)
    drawn = sample(prover, PROMPTS, 2, seed=0, max_new_tokens=6, temperature=temperature, engine=engine)
    for prompt, group in zip(PROMPTS, drawn, strict=True):
        for completion in group:
            with torch.no_grad():
                expected = forward_logprobs(model, prompt, completion.ids, temperature)
            np.testing.assert_allclose(completion.logprobs, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_models_own_sampling_defaults_are_not_applied(small, engine):
    """Many checkpoints ship top-k, temperature or a repetition penalty; training needs the plain distribution."""
    plain = sample(small, SMALL, 4, seed=2, max_new_tokens=12, engine=engine)
    config = small.model.generation_config
    config.temperature, config.top_k, config.top_p, config.repetition_penalty = 0.2, 2, 0.5, 3.0
    config.min_new_tokens, config.suppress_tokens = 12, [2]
    assert ids(sample(small, SMALL, 4, seed=2, max_new_tokens=12, engine=engine)) == ids(plain)


def test_unknown_engine(small):
    with pytest.raises(ValueError, match="unknown engine"):
        sample(small, SMALL, 1, seed=0, max_new_tokens=1, engine="warp")


# ---------------------------------------------------------------- independence


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_size_changes_nothing(small, engine):
    whole = sample(small, SMALL, 5, seed=3, max_new_tokens=20, engine=engine, batch=256)
    assert len({tuple(c.ids) for g in whole for c in g}) > 10
    for batch in (1, 5, 10, 13):
        assert ids(sample(small, SMALL, 5, seed=3, max_new_tokens=20, engine=engine, batch=batch)) == ids(whole)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_prompts_change_nothing(small, engine):
    whole = sample(small, SMALL, 5, seed=3, max_new_tokens=20, engine=engine)
    others = [[2] * 9, SMALL[1], [4, 4], [2]]
    assert ids(sample(small, others, 5, seed=3, max_new_tokens=20, engine=engine))[1] == ids(whole)[1]
    assert ids(sample(small, SMALL[:2], 5, seed=3, max_new_tokens=20, engine=engine)) == ids(whole)[:2]


def test_the_seed_decides_everything(small):
    results = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        results.append(ids(sample(small, SMALL, 5, seed=seed, max_new_tokens=20)))
    assert results[0] == results[1] != results[2]


def test_the_model_is_left_in_its_mode(small):
    for mode in (True, False):
        small.model.train(mode)
        sample(small, SMALL, 1, seed=0, max_new_tokens=2)
        assert small.model.training is mode


# ---------------------------------------------------------------- endings


@pytest.mark.parametrize("engine", ENGINES)
def test_endings(small, engine):
    drawn = flat(sample(small, SMALL, 40, seed=0, max_new_tokens=8, engine=engine))
    assert {c.truncated for c in drawn} == {True, False}
    lengths = {len(c.ids) for c in drawn if not c.truncated}
    assert len(lengths) > 3 and 8 in lengths  # an end token in the last place is an ending, not a cut
    for c in drawn:
        assert len(c.ids) == len(c.logprobs) <= 8
        assert END not in c.ids[:-1]
        assert c.truncated == (c.ids[-1] != END)
        assert not c.truncated or len(c.ids) == 8


@pytest.mark.parametrize("engine", ENGINES)
def test_every_end_token_of_the_model_ends(small, engine):
    """Chat models name several in their generation config."""
    small.model.generation_config.eos_token_id = [END, 4]
    drawn = flat(sample(small, SMALL, 30, seed=0, max_new_tokens=12, engine=engine))
    assert {c.ids[-1] for c in drawn if not c.truncated} == {END, 4}
    assert all(not {END, 4} & set(c.ids[:-1]) for c in drawn)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sampled_pad_token_is_text_like_any_other(small, engine):
    drawn = sample(small, SMALL, 30, seed=1, max_new_tokens=10, engine=engine)
    seen = 0
    for prompt, group in zip(SMALL, drawn, strict=True):
        for completion in group:
            if 0 in completion.ids[:-1]:
                seen += 1
                with torch.no_grad():
                    expected = forward_logprobs(small.model, prompt, completion.ids)
                np.testing.assert_allclose(completion.logprobs, expected.numpy(), atol=1e-4)
    assert seen > 10


# ---------------------------------------------------------------- the distribution


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_tokens_follow_the_softmax(small, temperature):
    """First tokens, and second tokens after the most common first one, against the model's probabilities."""
    drawn = sample(small, [SMALL[0]], 6000, seed=8, max_new_tokens=2, temperature=temperature, batch=6000)[0]

    def test(tokens: list[int], context: list[int]) -> None:
        with torch.no_grad():
            logits = small.model(input_ids=torch.tensor([context])).logits[0, -1].double() / temperature
        expected = logits.softmax(-1).numpy() * len(tokens)
        assert expected.min() > 5
        assert chisquare(np.bincount(tokens, minlength=6), expected).pvalue > 1e-3

    first = [c.ids[0] for c in drawn]
    test(first, SMALL[0])
    common = int(np.bincount([t for t in first if t != END]).argmax())
    test([c.ids[1] for c in drawn if c.ids[0] == common], [*SMALL[0], common])


# ---------------------------------------------------------------- stretches


@pytest.mark.parametrize("engine", ENGINES)
def test_stretches_put_together_are_the_text_drawn_at_once(small, engine):
    """Units end behind token 4; two units at a time, and a limit for all."""
    whole = flat(sample(small, SMALL, 1, seed=3, max_new_tokens=12, engine=engine))
    ends = np.arange(6) == 4
    texts = [[] for _ in SMALL]
    for _ in range(12):
        live = [i for i, t in enumerate(texts) if len(t) < 12 and END not in t]
        if not live:
            break
        parts = [Stretch(i, len(texts[i]), 12 - len(texts[i]), 2) for i in live]
        going = [[*SMALL[i], *texts[i]] for i in live]
        drawn = flat(
            sample(small, going, 1, seed=3, max_new_tokens=12, engine=engine, stretches=Stretches(parts, ends))
        )
        for i, c in zip(live, drawn, strict=True):
            assert c.ids.count(4) <= 2 and 4 not in c.ids[:-1][c.ids.index(4) + 1 :] if c.ids.count(4) == 2 else True
            assert c.truncated == (c.ids[-1] != END)
            texts[i] += c.ids
    assert texts == [c.ids for c in whole]


def test_stretches_are_one_a_prompt_and_not_for_vllm(small):
    stretches = Stretches([Stretch(0, 0, 4, 1)], np.zeros(6, dtype=bool))
    for wrong in ({"samples": 2, "engine": "fast"}, {"samples": 1, "engine": "vllm"}):
        with pytest.raises(ValueError, match="stretches"):
            sample(small, SMALL[:1], seed=0, max_new_tokens=4, stretches=stretches, **wrong)
