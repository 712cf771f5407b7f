"""Settings of what is classified."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from legibility.weak_to_strong.task_settings import (
    ClassificationTask,
    PreferencesTask,
    SolutionsTask,
    Task,
    TextTask,
    TwinsTask,
)


@pytest.mark.parametrize(
    ("given", "kind", "reads_text"),
    [
        ({"kind": "solutions"}, SolutionsTask, True),
        ({"kind": "preferences", "run": "runs/a"}, PreferencesTask, True),
        ({"kind": "classification", "path": "a.jsonl"}, ClassificationTask, False),
        ({"kind": "twins", "problems": {}}, TwinsTask, False),
    ],
)
def test_the_kind_says_which_settings_a_task_has(given, kind, reads_text):
    task = TypeAdapter(Task).validate_python(given)
    assert type(task) is kind and isinstance(task, TextTask) == reads_text


@pytest.mark.parametrize("places", [{}, {"path": "a.jsonl", "name": "org/data"}])
def test_a_data_set_has_one_place(places):
    with pytest.raises(ValidationError, match="one of the two"):
        ClassificationTask(**places)
