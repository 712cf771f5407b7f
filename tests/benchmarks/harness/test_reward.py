"""Tokens that a verifier reads once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from harness.reward import Reward, _unique_tokens
from harness.task import Task
from transformers import AutoTokenizer


def test_unique_tokens_count_a_shared_beginning_once():
    assert _unique_tokens([(1, 2, 3), (1, 2, 4, 5)]) == 5
    assert _unique_tokens([(1, 2, 3)]) == 3


def test_ranks_that_share_a_step_saw_together_what_one_process_sees(tiny_prover_dir):
    """Counts of the whole step, however its completions were dealt out; a prompt that two ranks share counts once."""
    task = dataclasses.replace(Task("t", str(tiny_prover_dir)), prompts=4, warm=0, steps=2)
    tokenizer = AutoTokenizer.from_pretrained(tiny_prover_dir)
    alone, *ranks = (Reward(task, tokenizer, [tokenizer.eos_token_id]) for _ in range(3))
    rng = np.random.default_rng(0)
    for items in task.items():
        rows = [item for item in items for _ in range(4)]
        completions = [rng.integers(5, 40, 3 + k % 5).tolist() for k in range(len(rows))]
        alone(rows, completions)
        for rank, reward in enumerate(ranks):  # every second completion, so that each group is split
            reward(rows[rank::2], completions[rank::2])
    ranks[0].merge([ranks[1].seen])
    for together, one in zip(ranks[0].statistics(), alone.statistics(), strict=True):
        assert together == pytest.approx(one)
    with pytest.raises(ValueError):
        ranks[0].merge([[]])
