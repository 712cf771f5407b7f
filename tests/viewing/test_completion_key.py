"""A completion's stable name says everything and is read back."""

from __future__ import annotations

import pytest

from legibility.errors import UserError
from legibility.viewing.completion_key import CompletionKey


@pytest.mark.parametrize("problem", ["p1", "a~b~c", "", "<b>", "línea\n2"])
def test_it_is_read_back(problem):
    key = CompletionKey("nano", "rounds/00", "ppo", "prover", 3, "sneaky", 1, problem)
    assert CompletionKey.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", "nano", "a~b~c~d~x~f~1~p", "a~b~c~d~1~f~99999999999~p"])
def test_anything_else_is_refused(text):
    with pytest.raises(UserError, match="no completion is called"):
        CompletionKey.parse(text)
