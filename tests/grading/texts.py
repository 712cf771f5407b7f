"""Texts that try both halves of grading: fuzzing, texts that would stall a careless parser, and the real GSM8K."""

from __future__ import annotations

import json

import pytest
from hypothesis import strategies as st

from tests.support import GSM8K

ANY_TEXT = st.one_of(st.text(max_size=200), st.text(alphabet="0123456789.,+-*/x×÷−=()<>$% \naбof#:^\\½", max_size=80))
HOSTILE = [(unit, 200_000) for unit in ("(", "1+", "=", "9", "1/", "<<")]
HOSTILE += [
    (unit, 40_000)
    for unit in (
        *("<<1", "1+1=", "((1", "1,000,", "x   ", "- ", "**", "\\", "$", "a/", "1 a + ", "(a ", "1 of ", "1..."),
        *("1+(", "#### 5\n", "<<" + "a" * 190, "é'", "1 = 2 ", "((((1+a "),
    )
]
"""A piece of text and the length to repeat it to."""

needs_gsm8k = pytest.mark.skipif(not (GSM8K / "test.jsonl").is_file(), reason="GSM8K is not here (LEGIBILITY_GSM8K)")


def gsm8k_answers(*splits: str) -> list[str]:
    """The worked solutions of GSM8K's splits (never copied into the repository)."""
    lines = [line for split in splits for line in (GSM8K / f"{split}.jsonl").open(encoding="utf-8")]
    return [json.loads(line)["answer"] for line in lines]
