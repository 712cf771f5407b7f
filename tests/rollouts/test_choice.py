"""The engine that samples: the one asked for where its log-probs are right, else a slower one."""

from __future__ import annotations

import pytest

from legibility.rollouts import _chunks, choice
from legibility.rollouts.fast import sample_fast
from tests.support import prover_of, tiny_model


@pytest.fixture
def unlisted(byte_tokenizer, monkeypatch):
    """A prover whose architecture is not known, and nothing remembered of it."""
    from legibility.models import self_check

    monkeypatch.setattr(choice, "is_listed", lambda config: False)
    monkeypatch.setattr(self_check, "_outcomes", {})
    return prover_of(tiny_model("llama", byte_tokenizer), byte_tokenizer)


def test_an_engine_that_is_right_stays(unlisted):
    assert choice.usable_engine(unlisted, "fast") == "fast" and choice.usable_engine(unlisted, "hf") == "hf"
    assert choice.engine_notice(unlisted, "fast", "fast") is None


def test_log_probs_that_are_off_cost_an_engine_its_place(unlisted, monkeypatch):
    def off(*task):
        drawn = sample_fast(*task)
        drawn[3].logprobs[-1] += 0.01
        return drawn

    monkeypatch.setattr(choice, "sample_fast", off)
    assert choice.usable_engine(unlisted, "fast") == "even"
    assert choice.engine_notice(unlisted, "fast", "even").startswith("compute.engine: fast is not right for Llama")


def test_a_cache_that_fails_leaves_forward_passes(unlisted, monkeypatch):
    def fail(*_):
        raise RuntimeError("no cache")

    monkeypatch.setattr(choice, "sample_fast", fail)
    monkeypatch.setattr(choice, "sample_hf", fail)
    assert choice.usable_engine(unlisted, "fast") == "plain"


def test_chunks_of_one_length():
    prompts = [[1], [1], [1], [1, 2], [1, 2, 3], [1, 2, 3]]
    assert [list(c) for c in _chunks(range(6), prompts, 2, even=False)] == [[0, 1], [2, 3], [4, 5]]
    assert [list(c) for c in _chunks(range(6), prompts, 2, even=True)] == [[0, 1], [2], [3], [4, 5]]
