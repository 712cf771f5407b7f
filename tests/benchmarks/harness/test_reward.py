"""Tokens that a verifier reads once."""

from __future__ import annotations

from harness.reward import _unique_tokens


def test_unique_tokens_count_a_shared_beginning_once():
    assert _unique_tokens([(1, 2, 3), (1, 2, 4, 5)]) == 5
    assert _unique_tokens([(1, 2, 3)]) == 3
