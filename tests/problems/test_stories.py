"""Stories as data: every sentence has the placeholders its event fills in, and asks about one quantity."""

from __future__ import annotations

from collections import Counter
from string import Formatter

import pytest

from legibility.problems.stories import NAMES, STORIES

NEEDED = {
    "start": {"n"},
    "gain": {"n"},
    "loss": {"n"},
    "gain_groups": {"a", "b"},
    "loss_groups": {"a", "b"},
    "scale": {"times"},
    "share": {"k"},
    "ask": set(),
    "aside": {"d"},
}


def placeholders(sentence: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(sentence) if name is not None]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_every_sentence_has_the_numbers_of_its_event(story):
    for event, needed in NEEDED.items():
        sentences = getattr(story, event)
        for sentence in [sentences] if isinstance(sentences, str) else sentences:
            found = placeholders(sentence)
            assert set(found) - {"who", "other"} == needed, sentence
            assert all(Counter(found)[name] == 1 for name in needed), sentence
            assert sentence[-1] == ("?" if event == "ask" else "."), sentence
            assert not any(c.isdigit() for c in sentence), sentence  # a number that no step knows of


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_gain_and_loss_are_told_in_two_ways(story):
    assert len({*story.gain, *story.loss}) == 4


def test_names_and_stories_are_distinct():
    assert len(set(NAMES)) == len(NAMES)
    assert len({story.name for story in STORIES}) == len(STORIES)
    assert len({story.start for story in STORIES}) == len(STORIES)
